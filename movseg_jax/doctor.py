"""Finds what keeps the package from working on a machine, and what mends it.

`movseg doctor` prints the findings. Everything is looked at from outside: metadata of
installed packages, files of drivers, and a process of its own that starts JAX, since
a device that hangs must not hang the doctor.
"""

import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from movseg_jax.system.process import (
    accelerator_files,
    compilation_cache,
    how_to_install,
    installed_version,
)

# `model.weights` has this path as well, but importing it needs a JAX that works.
BUNDLED = Path(__file__).parent / "weights" / "default.safetensors"
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain"),
    *("tensorflow-datasets", "numpy", "scipy", "opencv-python-headless", "av"),
    *("pillow", "pycocotools", "safetensors", "tyro"),
)
# NVIDIA drivers that the CUDA releases of JAX's plugins need at least.
CUDA_DRIVERS = {"cuda13": 580, "cuda12": 525}
TIMEOUT = 120.0  # Seconds for JAX to start its devices and run the model once.
# Runs in a process of its own; each line that it prints is an answer.
_PROBE = """
import json, sys, time
def say(**answer): print(json.dumps(answer), flush=True)
import jax
say(devices=[[d.platform, d.device_kind] for d in jax.devices()])
import numpy as np
import movseg_jax as ms
detector = ms.load_detector()
began = time.perf_counter()
image = np.zeros((64, 96, 3), np.uint8)
frames = [ms.video.Frame(i, str(i), image, None) for i in range(2)]
say(frames=len(ms.segment_video(frames, detector)), seconds=time.perf_counter() - began)
"""

Status = Literal["ok", "note", "problem"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A fact about the machine, and what mends it if it is a problem.

    Attributes:
        about: Subject, such as "CUDA".
        status: "problem" keeps the package, or the device asked for, from working;
            "note" costs speed or a feature.
        text: The state that was found.
        mend: The command or setting that mends it; empty if nothing needs mending.
    """

    about: str
    status: Status
    text: str
    mend: str = ""


def examine(*, run_model: bool = True) -> list[Finding]:
    """Examines the machine and returns the findings.

    Args:
        run_model: Run the model in the package on two tiny frames; takes seconds.
    """
    findings = [*_versions(), *_plugins(), *_weights(), *_video(), *_cache()]
    findings += _memory()
    findings += _devices(run_model)
    return findings


def to_text(findings: list[Finding]) -> str:
    """The findings as lines, each problem and note followed by its mend."""
    marks = {"ok": " ok ", "note": "note", "problem": "FAIL"}
    lines = []
    for finding in findings:
        lines.append(f"[{marks[finding.status]}] {finding.about}: {finding.text}")
        if finding.mend:
            lines.append(f"       -> {finding.mend}")
    return "\n".join(lines)


def to_json(findings: list[Finding]) -> str:
    """The findings as JSON, for bug reports."""
    return json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1)


def _versions() -> Iterator[Finding]:
    system = f"Python {platform.python_version()}, {platform.platform()}"
    yield Finding("system", "ok", system)
    found = {name: installed_version(name) for name in PACKAGES}
    listed = ", ".join(f"{name} {found[name]}" for name in PACKAGES if found[name])
    yield Finding("packages", "ok", listed)
    for name in PACKAGES:
        if found[name] is None and not (name.startswith("opencv") and _has_opencv()):
            yield Finding(name, "problem", "not installed", f"pip install {name}")
    jax, jaxlib = found["jax"], found["jaxlib"]
    if jax and jaxlib and not _same_release(jax, jaxlib):
        yield Finding(
            "jaxlib",
            "problem",
            f"jaxlib {jaxlib} does not belong to jax {jax}",
            f"pip install jaxlib=={jax}",
        )


def _has_opencv() -> bool:
    """True if one of OpenCV's other wheels is installed, which work as well."""
    names = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
    return any(installed_version(name) for name in names)


def _same_release(one: str, other: str) -> bool:
    """True if two versions have the same first three numbers."""
    return one.split(".")[:3] == other.split(".")[:3]


def _plugins() -> Iterator[Finding]:
    """Yields findings about what JAX needs to see this machine's accelerators."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked:
        yield Finding("JAX_PLATFORMS", "ok", f"set to {asked}")
    driver = nvidia_driver()
    wanted = set(asked.split(",")) & {"cuda", "gpu"}
    plugins = [name for name in CUDA_DRIVERS if installed_version(f"jax-{name}-plugin")]
    if driver is not None:
        name, version = driver
        yield Finding("NVIDIA driver", "ok", f"{version}, {name}")
        if asked and not wanted:
            yield Finding(
                "GPU",
                "note",
                f"JAX_PLATFORMS={asked} keeps JAX from using {name}",
                "unset JAX_PLATFORMS",
            )
        yield from _cuda_plugin(int(version.split(".")[0]), plugins)
    elif wanted or plugins:
        yield Finding(
            "NVIDIA driver",
            "problem" if wanted else "note",
            "nvidia-smi finds no driver, so JAX cannot use a GPU",
            "install NVIDIA's driver; in a container start it with --gpus all; or "
            "export JAX_PLATFORMS=cpu",
        )
    elif "tpu" in asked.split(",") and installed_version("libtpu") is None:
        yield Finding(
            "TPU",
            "problem",
            "JAX_PLATFORMS asks for a TPU, and libtpu is not installed",
            how_to_install("tpu"),
        )
    elif files := accelerator_files():
        yield Finding("accelerator", "ok", f"files of drivers: {', '.join(files)}")
    else:
        yield Finding("accelerator", "ok", "none found; JAX computes on the CPU")


def _cuda_plugin(driver: int, plugins: list[str]) -> Iterator[Finding]:
    """Whether the installed CUDA plugin fits the driver and jaxlib."""
    carried = [name for name, least in CUDA_DRIVERS.items() if driver >= least]
    if not carried:
        least = min(CUDA_DRIVERS.values())
        yield Finding(
            "CUDA",
            "problem",
            f"driver {driver} carries neither CUDA 12 nor CUDA 13",
            f"update NVIDIA's driver to {least} or newer",
        )
        return
    best = carried[0]
    if not plugins:
        yield Finding(
            "CUDA",
            "problem",
            "JAX is installed without support of NVIDIA GPUs",
            how_to_install(best),
        )
    elif not set(plugins) & set(carried):
        yield Finding(
            "CUDA",
            "problem",
            f"driver {driver} is too old for JAX's plugin {plugins[0]}",
            f"pip uninstall jax-{plugins[0]}-plugin jax-{plugins[0]}-pjrt; "
            + how_to_install(best),
        )
    for name in plugins:
        jaxlib = installed_version("jaxlib")
        plugin = installed_version(f"jax-{name}-plugin")
        if jaxlib and plugin and not _same_release(jaxlib, plugin):
            yield Finding(
                "CUDA",
                "problem",
                f"jax-{name}-plugin {plugin} does not fit jaxlib {jaxlib}, so JAX "
                "computes on the CPU",
                f'pip install "jax[{name}]=={installed_version("jax")}"',
            )


def nvidia_driver() -> tuple[str, str] | None:
    """The first GPU's name and its driver's version, as nvidia-smi has them."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    first = found.stdout.strip().splitlines()[:1]
    match = re.fullmatch(r"(.+), (\d+(?:\.\d+)*)", first[0].strip()) if first else None
    return (match[1], match[2]) if found.returncode == 0 and match else None


def _weights() -> Iterator[Finding]:
    card = BUNDLED.with_suffix(".json")
    try:
        digest = hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
        expected = json.loads(card.read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding(
            "weights",
            "problem",
            f"the model in the package cannot be read: {error}",
            how_to_install(),
        )
        return
    if digest != expected:
        yield Finding(
            "weights",
            "problem",
            f"the model in the package is damaged: its sha256 is {digest}, expected "
            f"{expected}",
            how_to_install(),
        )
    else:
        yield Finding("weights", "ok", f"sha256 {digest[:16]}")


def _video() -> Iterator[Finding]:
    try:
        import av
    except ImportError:  # `_versions` has said that it is missing.
        return
    codecs = ("libx264", "h264", "hevc", "vp9")
    missing = [name for name in codecs if name not in av.codecs_available]
    if missing:
        yield Finding(
            "codecs",
            "note",
            f"PyAV lacks {', '.join(missing)}",
            "pip install --force-reinstall --only-binary av av",
        )
    else:
        yield Finding("codecs", "ok", f"PyAV {av.__version__} with H.264")


def _cache() -> Iterator[Finding]:
    folder = compilation_cache()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding(
            "compilation cache",
            "note",
            f"{folder} cannot be written to ({error.strerror}), so each run compiles "
            "anew",
            "export XDG_CACHE_HOME=FOLDER, with a folder that you can write to",
        )
    else:
        yield Finding("compilation cache", "ok", str(folder))


def _memory() -> Iterator[Finding]:
    settings = ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION")
    chosen = [f"{name}={os.environ[name]}" for name in settings if name in os.environ]
    text = ", ".join(chosen) or "JAX's defaults: it reserves 75 % of a GPU's memory"
    yield Finding("memory of the device", "ok", text)


def _devices(run_model: bool) -> Iterator[Finding]:
    """Yields what a process of its own sees when it starts JAX."""
    code = _PROBE if run_model else _PROBE.split("import numpy", 1)[0]
    command = [sys.executable, "-c", code]
    timed_out = False
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            subprocess.run(command, stdout=out, stderr=errors, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            timed_out = True
        out.seek(0)
        errors.seek(0)
        answers: dict[str, Any] = {}
        for line in out.read().decode(errors="replace").splitlines():
            if line.startswith("{"):
                answers |= json.loads(line)
        said = errors.read().decode(errors="replace").strip().splitlines()
    reason = said[-1][:300] if said else "it ended without a word"
    if timed_out:
        reason = f"no answer within {TIMEOUT:.0f} s"
    if "devices" not in answers:
        yield Finding(
            "devices",
            "problem",
            f"JAX does not start: {reason}",
            "end other processes that use the device, or export JAX_PLATFORMS=cpu",
        )
        return
    kinds = [f"{platform} ({kind})" for platform, kind in answers["devices"]]
    yield Finding("devices", "ok", f"JAX computes on {', '.join(kinds)}")
    if "frames" in answers:
        seconds = f"{answers['seconds']:.1f} s, most of which is compiling"
        yield Finding("model", "ok", f"two tiny frames segmented in {seconds}")
    elif run_model:
        yield Finding(
            "model",
            "problem",
            f"the model does not run: {reason}",
            "export JAX_PLATFORMS=cpu to see whether the device is the reason",
        )
