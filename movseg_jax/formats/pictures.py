"""Tracks as folders of PNG files, and the reader of those whose pixels are tracks.

    masks       <name>.png      a palette image; a pixel is the track's number
    foreground  <name>.png      255 where something is that moves, 0 elsewhere
    colmap      <image>.png     the reverse, named as COLMAP looks for it
    nerfstudio  <name>.png      the same, named as nerfstudio looks for it
    vggt        <name>.png      frames that are black in the boxes of what moves
    cutouts     <id>/<name>.png each object alone, cut out of its frame

"masks" is the layout of DAVIS 2017 (Pont-Tuset et al., 2017), with its colours.
"foreground" is that of DAVIS 2016 (Perazzi et al., CVPR 2016).
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from movseg_jax import images, masks
from movseg_jax.errors import InputError
from movseg_jax.formats.survey import (
    Survey,
    check_name,
    check_suffix,
    paint,
    union,
)
from movseg_jax.masks.id_images import MAX_ID, VOID, MaskVideo, fits_8_bits
from movseg_jax.results import FrameSequence, Sighting, TrackedFrame
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.notes import note
from movseg_jax.system.paths import list_images

MAX_DILATION = 1_000  # Pixels.

# A function that opens the video from its start: frames in RGB, uint8 [h, w, 3].
OpenFrames = Callable[[], Iterable[np.ndarray]]


def write_masks(tracks: Sequence[TrackedFrame], out: Path, *, surveyed: Survey) -> None:
    """Writes palette images, the later sighting over the earlier.

    Where a track has a number from 255 on, all images are grey ones of 16 bits, in
    which every number is a track; a single track 255 is as in DAVIS 2016.

    Raises:
        InputError: A track's number is above 65535, or an image cannot be written.
    """
    ids = surveyed.ids
    most = ids[-1] if ids else 0
    if most > MAX_ID:
        raise InputError(
            f"{out}: of {len(ids)} tracks the last is number {most}, and images hold 1 "
            f'to {MAX_ID}; choose "tracks".'
        )
    make_folder(out)
    for frame in tracks:
        pixels = paint(frame)
        if fits_8_bits(ids):
            data = images.encode_ids(pixels.astype(np.uint8))
        else:
            data = images.encode_png(pixels.astype(np.uint16))
        write_file(out / f"{frame.name}.png", data)


def write_foreground(
    tracks: Sequence[TrackedFrame], out: Path, *, surveyed: Survey
) -> None:
    """Writes 255 where a track is that moves, also while it stands still; 0 elsewhere.

    Raises:
        InputError: An image cannot be written.
    """
    make_folder(out)
    for frame in tracks:
        pixels = union(frame, surveyed.movers).astype(np.uint8) * 255
        write_file(out / f"{frame.name}.png", images.encode_png(pixels))


def write_colmap(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    image_suffix: str = ".jpg",
    dilate: int = 0,
) -> None:
    """Writes 0 where a track is that moves, also while it stands still; 255 elsewhere.

    COLMAP finds the mask of IMAGES/00012.jpg in MASKS/00012.jpg.png and extracts no
    features where it is 0 (its FAQ, "Mask image regions").

    Args:
        tracks: The tracked frames.
        out: The folder, COLMAP's `--ImageReader.mask_path`.
        surveyed: The survey of the tracks.
        image_suffix: The suffix of the images that COLMAP reads.
        dilate: Pixels by which objects grow, because their outlines and the pixels that
            they blur do not belong to the scene either.

    Raises:
        InputError: An option is out of range, or an image cannot be written.
    """
    check_suffix(image_suffix, out)
    _write_scene(tracks, out, surveyed, f"{image_suffix}.png", dilate)


def write_nerfstudio(
    tracks: Sequence[TrackedFrame], out: Path, *, surveyed: Survey, dilate: int = 0
) -> None:
    """Writes the masks of `write_colmap` under the names that nerfstudio looks for.

    Its parser of COLMAP's models finds the mask of images/00012.jpg in MASKS/00012.png,
    and does not train where it is 0. In its transforms.json, "mask_path" names masks.

    Args:
        tracks: The tracked frames.
        out: The folder, nerfstudio's `--masks-path`.
        surveyed: The survey of the tracks.
        dilate: Pixels by which objects grow.

    Raises:
        InputError: `dilate` is out of range, or an image cannot be written.
    """
    _write_scene(tracks, out, surveyed, ".png", dilate)


def _write_scene(tracks, out, surveyed, ending, dilate) -> None:
    """Writes a mask of each frame, 255 where the scene is and nothing moves."""
    _check_dilation(dilate, out)
    make_folder(out)
    for frame in tracks:
        moving = union(frame, surveyed.movers)
        if dilate and moving.any():
            # The next distance is at least 1 / (2 dilate) more, 0.0005.
            away = cv2.distanceTransform(
                (~moving).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
            )
            moving = away <= dilate + 1e-4
        pixels = np.where(moving, 0, 255).astype(np.uint8)
        write_file(out / f"{frame.name}{ending}", images.encode_png(pixels))


def _check_dilation(dilate: int, out: Path) -> None:
    if not 0 <= dilate <= MAX_DILATION:
        raise InputError(
            f"{out}: `dilate` is {dilate}, expected 0 to {MAX_DILATION} pixels "
            "(pictures.MAX_DILATION)."
        )


def write_vggt(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    frames: OpenFrames,
    dilate: int = 0,
) -> None:
    """Writes the frames, black in the box of each track that moves.

    VGGT takes no masks. Its authors advise to blacken or whiten what it shall ignore,
    and to use boxes: of a person's exact mask it sees the person's shape.

    Args:
        tracks: The tracked frames.
        out: The folder, from which VGGT reads images.
        surveyed: The survey of the tracks.
        frames: A function that opens the video the tracks belong to.
        dilate: Pixels by which boxes grow.

    Raises:
        InputError: `dilate` is out of range, the frames are not those of the tracks, or
            an image cannot be written.
    """
    _check_dilation(dilate, out)
    make_folder(out)
    for frame, image in with_images(tracks, frames, out):
        image = image.copy()
        for sighting in frame.sightings:
            x0, y0, x1, y1 = masks.tight_box(masks.decode(sighting.mask)).astype(int)
            if sighting.id in surveyed.movers and x0 < x1:
                rows = slice(max(0, y0 - dilate), y1 + dilate)
                image[rows, max(0, x0 - dilate) : x1 + dilate] = 0
        write_file(out / f"{frame.name}.png", images.encode_png(image))


def write_cutouts(
    tracks: Sequence[TrackedFrame], out: Path, *, frames: OpenFrames
) -> None:
    """Writes each object of each frame as an RGBA image of its tight box.

    Where the box was, the image's "oFFs" chunk tells (extensions to the PNG 1.2
    specification): GIMP puts it there. Hidden parts of a mask are cut out too.

    Raises:
        InputError: The frames are not those of the tracks, or an image cannot be
            written.
    """
    make_folder(out)
    for frame, image in with_images(tracks, frames, out):
        for sighting in frame.sightings:
            mask = masks.decode(sighting.mask)
            x0, y0, x1, y1 = masks.tight_box(mask).astype(int).tolist()
            if not mask.any():
                continue
            inside = mask[y0:y1, x0:x1, None]
            colour = np.where(inside, image[y0:y1, x0:x1], 0).astype(np.uint8)
            alpha = inside.astype(np.uint8) * 255
            png = images.encode_png(np.concatenate([colour, alpha], axis=2))
            folder = out / str(sighting.id)
            make_folder(folder)
            write_file(folder / f"{frame.name}.png", _with_offset(png, x0, y0))


# Not `FrameSequence[TrackedFrame]`, for which beartype would read an image.
class MaskFolder(FrameSequence):
    """Palette or grey images as tracked frames, read when they are asked for.

    Every number is a track, but 255 where it is void: see `mask_images`. What such
    images do not hold is as in ground truth: scores are 1, and all moves. Painted are
    the tracks in the order of their numbers.
    """

    def __init__(self, folder: Path):
        """Lists the folder and reads the header of its first image.

        Raises:
            InputError: It is no folder, has no images or two of the same name, or the
                first is damaged.
        """
        self._folder, self._files = folder, list_images(folder)
        if not self._files:
            raise InputError(
                f"{folder}: has no images; expected a .png for each frame, whose "
                "pixels are numbers of tracks."
            )
        names: dict[str, Path] = {}
        for file in self._files:
            other = names.setdefault(check_name(file.stem, str(file)), file)
            if other is not file:
                raise InputError(
                    f"{folder}: {other.name} and {file.name} are of the same frame; "
                    "expected one image for each."
                )
        self._video = MaskVideo(tuple(self._files))
        self._size = images.mask_size(self._files[0])

    def __len__(self) -> int:
        return len(self._files)

    def make(self, index: int) -> TrackedFrame:
        """Reads the tracks of a frame."""
        file = self._files[index]
        ids = images.read_ids(file, most=MAX_ID)
        if ids.shape != self._size:
            raise InputError(
                f"{file}: is of size {ids.shape}, {self._files[0].name} of "
                f"{self._size} (height, width); expected the frames of one video."
            )
        if self._video.has_void(ids):
            note(
                f"{self._folder}: 255 is read as void, beside other objects' numbers: "
                "where it is, there is no track."
            )
            ids = np.where(ids == VOID, 0, ids)
        return TrackedFrame(file.stem, self._size, None, sightings_of(ids))


def sightings_of(ids: np.ndarray) -> tuple[Sighting, ...]:
    """The tracks of a picture of numbers, ascending, as in ground truth."""
    return tuple(
        Sighting(int(i), masks.encode(ids == i), 1.0, True, float("nan"))
        for i in np.unique(ids)
        if i
    )


def with_images(
    tracks: Sequence[TrackedFrame], frames: OpenFrames, out: Path
) -> Iterator[tuple[TrackedFrame, np.ndarray]]:
    """Every tracked frame with its image.

    Raises:
        InputError: There are more of one than of the other, or a size differs.
    """
    opened = iter(frames())
    try:
        count = 0
        for frame in tracks:
            image = next(opened, None)
            if image is None:
                raise InputError(
                    f"{out}: the video ends after {count} frames, the tracks go on; "
                    "expected the video that they were made of."
                )
            if image.shape != (*frame.size, 3) or image.dtype != np.uint8:
                raise InputError(
                    f"{out}: frame {count} of the video is {image.dtype} "
                    f"{image.shape}, expected uint8 {(*frame.size, 3)}, the size of "
                    "its tracks."
                )
            yield frame, image
            count += 1
        if next(opened, None) is not None:
            raise InputError(
                f"{out}: the tracks end after {count} frames, the video goes on; "
                "expected the video that they were made of. If they are of a part of "
                "it, only the tracks.json of `movseg segment` says where that starts."
            )
    finally:
        close = getattr(opened, "close", None)
        if close:  # A generator holds the video's file open.
            close()


def _with_offset(png: bytes, x: int, y: int) -> bytes:
    """A PNG file that says where it belongs, behind its header of 33 bytes."""
    content = b"oFFs" + struct.pack(">iiB", x, y, 0)  # 0: in pixels.
    chunk = struct.pack(">I", 9) + content + struct.pack(">I", zlib.crc32(content))
    return png[:33] + chunk + png[33:]
