"""Settings of the process that make it faster; the command line makes them.

They concern the whole process, so importing the package does not make them.
"""

import ctypes
import glob
import importlib.util
import os
import sys
from pathlib import Path

# Files that the drivers of accelerators make: NVIDIA (also under WSL), AMD, TPU.
ACCELERATORS = (
    "/dev/nvidia[0-9]*",
    "/dev/dxg",
    "/dev/kfd",
    "/dev/accel*",
    "/dev/vfio/[0-9]*",
)
OPENCV_THREADS = "OPENCV_FOR_THREADS_NUM"  # An environment variable of OpenCV.


def installed_version(package: str = "movseg-jax") -> str | None:
    """Returns the version of an installed package; None if it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def how_to_install(extra: str = "") -> str:
    """Returns how to install an extra of this package, or the package again.

    It is on no index, so pip installs it from a copy of the repository.
    """
    what = f'".[{extra}]"' if extra else "--force-reinstall --no-deps ."
    return f"in your copy of the repository: pip install {what}"


def prepare_memory() -> None:
    """Calls `keep_memory` if JAX will compute on the CPU.

    With another device the host decodes in many threads, which would wait for one
    another if they shared one arena.
    """
    if computes_on_cpu():
        keep_memory()


def prepare_jax() -> None:
    """Makes JAX fast, without changing what the user has set.

    Compiled programs are cached in the user's cache folder. Nobody else may write to
    it, since JAX runs what it finds there. It also calls `prepare_memory`.
    """
    prepare_memory()
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
    return user_cache() / "xla"


def user_cache() -> Path:
    """The folder for files that can be made or downloaded again."""
    caches = os.environ.get("XDG_CACHE_HOME")  # Empty is as if it were not set.
    return (Path(caches) if caches else Path.home() / ".cache") / "movseg_jax"


def accelerator_files() -> list[str]:
    """The files that drivers of accelerators have made on this machine."""
    return sorted(file for pattern in ACCELERATORS for file in glob.glob(pattern))


def share_processor() -> None:
    """Keeps OpenCV to one thread if JAX computes on the CPU, unless the user sets it.

    Flow is computed while the detector runs, on the same cores: OpenCV's threads, which
    spin while they wait, would take time from it (docs/performance.md). This is a
    setting of the process, so the command line makes it, and importing the package does
    not.

    Raises:
        InputError: JAX has no device.
    """
    import cv2
    import jax

    from movseg_jax.system.devices import start_devices

    start_devices()
    if jax.default_backend() == "cpu" and OPENCV_THREADS not in os.environ:
        cv2.setNumThreads(1)


def computes_on_cpu() -> bool:
    """Whether JAX will compute on the CPU, as far as this is known without starting it.

    It will if the user asks for it, if JAX is installed without support for anything
    else, or if there is no driver for anything else.
    """
    asked = os.environ.get("JAX_PLATFORMS", "")
    if "jax" in sys.modules:
        asked = sys.modules["jax"].config.jax_platforms or ""
    if asked:
        return asked.split(",")[0] == "cpu"
    if not accelerator_files():
        return True
    from importlib.metadata import entry_points  # Takes longer than all else here.

    # Plugins are packages below `jax_plugins`, or are registered as entry points.
    supported = (
        importlib.util.find_spec("jax_plugins") is not None
        or importlib.util.find_spec("libtpu") is not None
        or bool(entry_points(group="jax_plugins"))
    )
    return not supported


def keep_memory() -> None:
    """Lets this process keep the memory that it frees, if the C library can.

    Otherwise every call of a compiled function gets its temporary memory anew, page by
    page, which takes as long as some layers on a CPU (docs/performance.md). Call it
    before the process starts its first thread: from then on, glibc does not change the
    number of arenas any more.
    """
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt:
        arena_max, mmap_max, trim_threshold, top_pad = -8, -4, -1, -2
        for parameter, value in (
            (arena_max, 1),
            (mmap_max, 0),
            (trim_threshold, 2**31 - 1),
            (top_pad, 2**26),
        ):
            mallopt(parameter, value)


def give_back_memory() -> None:
    """Gives memory that this process has freed back to the system, if it can.

    Where `keep_memory` was called, this is the only way: loading and compiling leave
    more than 100 MB that nothing needs afterwards. It takes some milliseconds.
    """
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim:
        trim(0)


def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
