"""Tracks as an array `segmentation` [t, h, w] in NumPy's .npz, 0 the background.

The code of "Towards Segmenting Anything That Moves" writes and reads such files, with
float64 pixels. Here they are uint8, or uint16 from track 255 on: numbers are all that
is in them, its reader takes any type, and they take an eighth of the memory.
"""

import contextlib
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.formats import parsing
from movseg_jax.formats.pictures import sightings_of
from movseg_jax.formats.survey import Survey, paint
from movseg_jax.images.ids import check_ids
from movseg_jax.masks.id_images import MAX_ID, VOID, fits_8_bits
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.atomic import whole_file
from movseg_jax.system.notes import note

KEY = "segmentation"


def write_npz(tracks: Sequence[TrackedFrame], out: Path, *, surveyed: Survey) -> None:
    """Writes the visible track of each pixel, compressed, one frame at a time.

    Raises:
        InputError: A track's number is above `MAX_ID`, or the file cannot be written.
    """
    top = surveyed.ids[-1] if surveyed.ids else 0
    if top > MAX_ID:
        raise InputError(
            f"{out}: holds track {top}, expected 1 to {MAX_ID} (mask_images.MAX_ID);"
            ' choose "tracks" or "coco".'
        )
    dtype = np.dtype(np.uint8 if fits_8_bits(surveyed.ids) else "<u2")
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (surveyed.frame_count, *surveyed.size),
    }
    # The date is the first that zip knows: the same tracks give the same bytes.
    entry = zipfile.ZipInfo(f"{KEY}.npy", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    with whole_file(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(entry, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for frame in tracks:
                file.write(paint(frame).astype(dtype).tobytes())


def read_npz(path: Path) -> parsing.Recorded:
    """Reads the array "segmentation", or the only one; holds one frame at a time.

    Pixels are whole numbers of any type, or truth values. The format knows only them:
    scores are 1, all moves, and frames are named by their numbers. Of numbers of 8 bits
    255 may be void, as in images: see `mask_images`.

    Raises:
        InputError: It is damaged, or its array is not as expected.
    """
    parsing.check_file(path)
    try:
        with zipfile.ZipFile(path) as archive, _entry(archive, path) as file:
            dtype, (count, height, width) = _header(file, path)
            sightings = {}
            for index in range(count):
                ids = _frame(file, dtype, (height, width), f"{path}: frame {index}")
                sightings[index] = sightings_of(ids)
            if file.read(1):  # At the end the checksum is compared, too.
                raise InputError(f"{path}: holds more than its header says.")
    except InputError:
        raise
    except Exception as error:  # zipfile and NumPy let all kinds escape.
        kind = type(error).__name__
        raise InputError(f"{path}: is no whole .npz: {kind}: {error}.") from None
    if dtype.itemsize == 1:
        sightings = _without_void(sightings, path)
    sightings = {index: there for index, there in sightings.items() if there}
    return parsing.Recorded(count, (height, width), sightings)


def _without_void(
    sightings: dict[int, tuple[Sighting, ...]], path: Path
) -> dict[int, tuple[Sighting, ...]]:
    """The sightings without 255 where there are other numbers, too."""
    numbers = {sighting.id for there in sightings.values() for sighting in there}
    if VOID not in numbers or numbers == {VOID}:
        return sightings
    note(
        f"{path}: 255 is read as void, beside other objects' numbers: where it is, "
        "there is no track."
    )
    return {
        index: tuple(sighting for sighting in there if sighting.id != VOID)
        for index, there in sightings.items()
    }


@contextlib.contextmanager
def _entry(archive: zipfile.ZipFile, path: Path) -> Iterator[zipfile.ZipExtFile]:
    """The array's file in the archive."""
    entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
    named = [e for e in entries if e.filename == f"{KEY}.npy"]
    chosen = named or entries
    if len(chosen) != 1:
        names = [e.filename for e in entries[:5]]
        raise InputError(f'{path}: holds {names}, expected one array, "{KEY}".')
    # Deflate gives at most a thousand times its input; others know no such bound.
    if chosen[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{path}: is not compressed as NumPy does it, by deflate.")
    with archive.open(chosen[0]) as file:
        assert isinstance(file, zipfile.ZipExtFile)  # As it is opened for reading.
        yield file


def _header(
    file: zipfile.ZipExtFile, path: Path
) -> tuple[np.dtype, tuple[int, int, int]]:
    """Type and shape of the array."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise InputError(f"{path}: its array is of version {version} of NumPy's.")
    if dtype.kind not in "buif" or len(shape) != 3 or fortran:
        order = " in Fortran's order" if fortran else ""
        raise InputError(
            f"{path}: holds {dtype} {shape}{order}, expected whole numbers of shape "
            "(frames, height, width) in C's order."
        )
    parsing.check_count(shape[0], str(path))
    if not 1 <= math.prod(shape[1:]) <= images.MAX_PIXELS:
        raise InputError(
            f"{path}: frames are of size {shape[1:]}, expected at least 1x1 and at "
            f"most {images.MAX_PIXELS} pixels (images.MAX_PIXELS)."
        )
    return dtype, shape


def _frame(
    file: zipfile.ZipExtFile, dtype: np.dtype, size: tuple[int, int], where: str
):
    """The next frame's numbers, in 16 bits."""
    length = math.prod(size) * dtype.itemsize
    data = file.read(length)
    if len(data) < length:
        raise InputError(f"{where}: is cut off.")
    values = np.frombuffer(data, dtype).reshape(size)
    if dtype.kind == "b":
        values = values.view(np.uint8)
    if not ((values >= 0) & (values <= MAX_ID) & (values % 1 == 0)).all():
        raise InputError(
            f"{where}: expected whole numbers from 0 to {MAX_ID} (mask_images.MAX_ID)."
        )
    ids = values.astype(np.uint16)
    check_ids(ids, where)
    return ids
