"""The memory of a process, as tests measure it."""

import ctypes
import resource
import threading
import xml.etree.ElementTree
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_megabytes() -> float:
    """The most memory that this process has had, without what its parent had.

    On Linux, `getrusage` starts with the peak of the process that started this one.
    """
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def count_arenas(folder: Path) -> int:
    """The number of arenas of glibc's allocator after four threads have used it."""
    threads = [threading.Thread(target=bytearray, args=[100_000]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    libc, file = ctypes.CDLL(None), folder / "arenas.xml"
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(bytes(file), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return len(xml.etree.ElementTree.parse(file).findall("heap"))
