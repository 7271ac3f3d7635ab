"""Settings of the process that make JAX faster; made by the command line.

They are the process's, not the library's, so importing the package makes none of them.
"""

import ctypes
import glob
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

# Files that the drivers of accelerators make: NVIDIA's, also under WSL, AMD's, TPUs'.
ACCELERATORS = (
    "/dev/nvidia[0-9]*",
    "/dev/dxg",
    "/dev/kfd",
    "/dev/accel*",
    "/dev/vfio/[0-9]*",
)


def prepare_jax() -> None:
    """Sets what makes JAX fast here, unless the user has.

    A compilation cache in the user's cache folder, which nobody else can write to (JAX
    runs what it finds there); and, if it is the CPU that computes, `keep_memory`.
    """
    if computes_on_cpu():
        keep_memory()
    cache = compilation_cache()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache.chmod(0o700)
    except OSError:
        return  # A read-only home: compile every time.
    for name, value in (
        ("jax_compilation_cache_dir", str(cache)),
        ("jax_persistent_cache_min_compile_time_secs", 1.0),
    ):
        if name.upper() in os.environ:
            continue
        os.environ[name.upper()] = str(value)
        if "jax" in sys.modules:  # It has read the environment already.
            sys.modules["jax"].config.update(name, value)


def compilation_cache() -> Path:
    """The folder in which compiled programs are kept for later runs."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return caches / "movseg_jax" / "xla"


def accelerator_files() -> list[str]:
    """The files that drivers of accelerators have made on this machine."""
    return sorted(file for pattern in ACCELERATORS for file in glob.glob(pattern))


def computes_on_cpu() -> bool:
    """Whether JAX will compute on the CPU, as far as one sees without starting it.

    It will if the user says so, if JAX is installed without support of anything else,
    or if there is no driver of anything else.
    """
    asked = os.environ.get("JAX_PLATFORMS", "")
    if "jax" in sys.modules:
        asked = sys.modules["jax"].config.jax_platforms or ""
    if asked:
        return asked.split(",")[0] == "cpu"
    # Plugins are packages below `jax_plugins`, or say so in their metadata.
    supported = (
        importlib.util.find_spec("jax_plugins") is not None
        or importlib.util.find_spec("libtpu") is not None
        or bool(importlib.metadata.entry_points(group="jax_plugins"))
    )
    return not (supported and accelerator_files())


def keep_memory() -> None:
    """Lets this process keep the memory that it frees, where the C library can.

    Otherwise every call of a compiled function gets its temporary memory anew, page by
    page, which on a CPU takes as long as some layers (docs/performance.md). Where the
    device is another one, the host decodes in many threads, which one arena would keep
    waiting for one another.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(library, "mallopt", None)
    if mallopt:
        arena_max, mmap_max, trim_threshold, top_pad = -8, -4, -1, -2
        for parameter, value in (
            (arena_max, 1),
            (mmap_max, 0),
            (trim_threshold, 2**31 - 1),
            (top_pad, 2**26),
        ):
            mallopt(parameter, value)
