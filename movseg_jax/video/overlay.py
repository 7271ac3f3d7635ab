"""Pictures and videos of what was found, drawn with OpenCV.

A track keeps its colour, that of its id. What was seen to move is filled, and so is
what may move or not; what stands still is hatched. No label covers another one.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt, UInt8
from numpy.lib.stride_tricks import sliding_window_view

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.video.labels import Colour, Plate, free_place
from movseg_jax.video.labels import track_colour as track_colour
from movseg_jax.video.reading import Frame
from movseg_jax.video.writing import VideoWriter

OPACITY = 0.5  # The opacity of masks over the frame.
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Box = tuple[slice, slice]


def draw_masks(
    frame: UInt8[np.ndarray, "h w 3"],
    masks: Sequence[Bool[np.ndarray, "h w"]],
    ids: Sequence[int] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with masks laid over it, each in its own colour with a white outline.

    Args:
        frame: RGB; it is not changed.
        masks: The masks; later ones are drawn over earlier ones.
        ids: Ids of the tracks, which choose the colours. Default: 1, 2, 3, ...
    """
    drawn = frame.copy()
    for id, mask in zip(ids or range(1, len(masks) + 1), masks, strict=True):
        box = _tight(mask)
        _fill(drawn, frame, mask, box, track_colour(id))
        _outline(drawn, mask, box, 1)
    return drawn


def draw_tracks(
    frame: UInt8[np.ndarray, "h w 3"] | Frame,
    tracked: TrackedFrame | Sequence[Sighting] | UInt[np.ndarray, "h w"],
    *,
    why: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with its tracks: masks, outlines and labels.

    Objects that are known to be stationary are hatched. Lines and labels grow with the
    frame.

    Args:
        frame: RGB; it is not changed.
        tracked: The tracks of the frame, some of its sightings, or an image whose
            pixels are numbers of tracks, with 0 for the background.
        why: Whether labels tell the motion, in pixels per frame; "?" if it is unknown.

    Raises:
        InputError: The frame and the tracks differ in size.
    """
    image = frame.image if isinstance(frame, Frame) else frame
    if not isinstance(tracked, TrackedFrame):
        if isinstance(tracked, np.ndarray):
            tracked = _sightings(tracked)
        name = frame.name if isinstance(frame, Frame) else ""
        tracked = TrackedFrame(name, image.shape[:2], None, tuple(tracked))
    _check_size(image, tracked, f"frame {tracked.name!r}")
    drawn = image.copy()
    short = min(tracked.size)
    labels = []
    for sighting in tracked.sightings:
        mask = masks.decode(sighting.mask)
        box = _tight(mask)
        stripe = max(2, short // 100) if sighting.stands_still else 0
        _fill(drawn, image, mask, box, track_colour(sighting.id), stripe)
        pieces = _outline(drawn, mask, box, max(1, round(short / 540)))
        if pieces:
            labels.append((sighting, _top_of_largest_piece(mask, box, pieces)))
    taken: list[Plate] = []
    for sighting, place in labels:  # Last, so that no mask hides them.
        text = label_text(sighting, why=why)
        taken.append(
            _label(drawn, text, place, track_colour(sighting.id), short, taken)
        )
    return drawn


def _top_of_largest_piece(mask, box, pieces: int) -> tuple[int, int]:
    """The place (x, y) that a label belongs to: other pieces may be far away."""
    top, row = 0, mask[box][0]
    if pieces > 1:
        found = cv2.connectedComponentsWithStats(mask[box].view(np.uint8))
        _, numbers, stats, _ = found
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        top = int(stats[largest, cv2.CC_STAT_TOP])
        row = numbers[top] == largest
    middle = int(np.flatnonzero(row).mean())
    return box[1].start + middle, box[0].start + top


def _sightings(ids: UInt[np.ndarray, "h w"]) -> list[Sighting]:
    """The tracks in an image whose pixels are their numbers; motion is unknown."""
    return [
        Sighting(id, masks.encode(ids == id), 1.0, True, math.nan)
        for id in np.unique(ids[ids > 0]).tolist()
    ]


def label_text(sighting: Sighting, *, why: bool = False) -> str:
    """The text beside a mask: its track's id; with `why` also its motion, if known."""
    if not why:
        return str(sighting.id)
    known = math.isfinite(sighting.motion)
    return f"{sighting.id}: {f'{sighting.motion:.1f}' if known else '?'} px"


def resize_tracks(tracked: TrackedFrame, size: tuple[int, int]) -> TrackedFrame:
    """Returns the tracks as they are in a picture of another size.

    Args:
        tracked: The tracks of a frame.
        size: Height and width of the picture.
    """
    if tracked.size == size:
        return tracked
    sightings = []
    for sighting in tracked.sightings:
        pixels = sighting.pixels.view(np.uint8)
        pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        sightings.append(sighting._replace(mask=masks.encode(pixels.view(bool))))
    return tracked._replace(size=size, sightings=tuple(sightings))


def write_overlay(
    frames: Iterable[np.ndarray | Frame],
    tracks: Sequence[TrackedFrame],
    out: str | Path,
    fps: int | float | Fraction | None,
    *,
    why: bool = False,
) -> None:
    """Writes the video with its tracks drawn, as H.264; one frame is held at a time.

    Args:
        frames: All frames of the video, RGB.
        tracks: The tracks of each frame.
        out: The file, "NAME.mp4".
        fps: Frames per second; None to show each frame at its tracks' `time`.
        why: Whether labels tell the motion, see `draw_tracks`.

    Raises:
        InputError: There are no frames, not as many frames as tracks, or of other
            sizes; or the file cannot be written.
    """
    with overlay_writer(tracks, out, fps, why=why) as add:
        for image, tracked in paired(frames, tracks, source=str(out)):
            add(image, tracked)


@contextlib.contextmanager
def overlay_writer(
    tracks: Sequence[TrackedFrame],
    out: str | Path,
    fps: int | float | Fraction | None,
    *,
    why: bool = False,
) -> Iterator[Callable[[np.ndarray, TrackedFrame], None]]:
    """Gives a function that adds a frame, with its tracks, to an overlay.

    Frames are added in their order, all of them. The file is there after the block.

    Args:
        tracks: The tracks of each frame; only the first ones are read.
        out: The file, "NAME.mp4".
        fps: Frames per second; None to show each frame at its tracks' `time`.
        why: Whether labels tell the motion, see `draw_tracks`.

    Raises:
        InputError: There are no frames, or the file cannot be written.
    """
    if not len(tracks):
        raise InputError(f"{out}: a video needs at least one frame.")
    with VideoWriter(out, tracks[0].size, fps) as writer:
        began = tracks[0].time or 0.0  # Of a section it is later than 0.

        def add(image: np.ndarray, tracked: TrackedFrame) -> None:
            time = tracked.time if fps is None else None
            time = None if time is None else time - began
            writer.write(draw_tracks(image, tracked, why=why), time)

        yield add


def paired(
    frames: Iterable[np.ndarray | Frame],
    tracks: Sequence[TrackedFrame],
    *,
    source: str,
) -> Iterator[tuple[np.ndarray, TrackedFrame]]:
    """Every frame's image with its tracks.

    Args:
        frames: The frames, RGB.
        tracks: The tracks of each frame.
        source: The name of the output, for messages.

    Raises:
        InputError: There are more of one than of the other, or their sizes differ.
    """
    images, count = iter(frames), 0
    for tracked in tracks:
        frame = next(images, None)
        if frame is None:
            raise _unequal(source, f"only {count}", len(tracks))
        image = frame.image if isinstance(frame, Frame) else frame
        _check_size(image, tracked, f"{source}: frame {count} ({tracked.name!r})")
        yield image, tracked
        count += 1
    if next(images, None) is not None:
        raise _unequal(source, f"more than {count}", len(tracks))


def _unequal(source: str, frames: str, tracks: int) -> InputError:
    return InputError(
        f"{source}: the video has {frames} frames, but there are tracks for {tracks}; "
        "expected the frames that were segmented, all of them."
    )


def _check_size(image: np.ndarray, tracked: TrackedFrame, source: str) -> None:
    expected = (*tracked.size, 3)
    sizes = {sighting.mask.size for sighting in tracked.sightings} - {tracked.size}
    if image.shape != expected or image.dtype != np.uint8:
        raise InputError(
            f"{source}: is {image.dtype} {image.shape}, but its tracks need uint8 "
            f"{expected}; hand in the video that was segmented."
        )
    if sizes:
        raise InputError(
            f"{source}: has a mask of size {sizes.pop()}, expected {tracked.size} "
            "(height, width)."
        )


# Drawing into an array, in place ---------------------------------------------------


def _tight(mask: Bool[np.ndarray, "h w"]) -> Box:
    """The rows and columns that a mask's pixels lie in."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def _fill(
    drawn: UInt8[np.ndarray, "h w 3"],
    frame: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    box: Box,
    colour: Colour,
    stripe: int = 0,
) -> None:
    """Blends a mask with the frame, so that what it covers does not shine through.

    With a stripe of some pixels only diagonal stripes are blended. They are fixed to
    the frame and not to the object, and between them is the frame.
    """
    if not mask[box].size:
        return
    filled = mask[box]
    if stripe:
        rows, columns = box
        diagonals = np.arange(rows.start + columns.start, rows.stop + columns.stop - 1)
        on = diagonals // stripe % 2 == 0
        filled = filled & sliding_window_view(on, columns.stop - columns.start)
        # Nothing that was drawn before shows between the stripes.
        cv2.copyTo(frame[box], mask[box].view(np.uint8), drawn[box])
    blend = cv2.LUT(frame[box], _blended(colour))
    cv2.copyTo(blend, filled.view(np.uint8), drawn[box])


@functools.cache
def _blended(colour: Colour) -> UInt8[np.ndarray, "1 256 3"]:
    """A table of what each value of a channel becomes under a colour."""
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    solid = np.full_like(values, colour)
    return cv2.addWeighted(values, 1 - OPACITY, solid, OPACITY, 0)


def _outline(
    drawn: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    box: Box,
    thickness: int,
) -> int:
    """Draws the outlines of a mask's pieces; returns the number of pieces."""
    if not mask[box].size:
        return 0
    part = np.ascontiguousarray(mask[box]).view(np.uint8)
    lines, nesting = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Lines around holes, which have a parent, are left out.
    lines = [
        line
        for line, (*_, hole_of) in zip(lines, nesting[0], strict=True)
        if hole_of < 0
    ]
    corner = (box[1].start, box[0].start)
    cv2.drawContours(
        drawn, lines, -1, WHITE, thickness, cv2.LINE_8, None, 2**31 - 1, corner
    )
    return len(lines)


def _label(
    drawn: UInt8[np.ndarray, "h w 3"],
    text: str,
    place: tuple[int, int],
    colour: Colour,
    short: int,
    taken: Sequence[Plate],
) -> Plate:
    """Draws text on a plate of the colour, above `place` or below; returns the plate.

    Where other labels are, it is moved up or down.
    """
    letters = max(8, round(short / 42))  # The height of a digit, in pixels.
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale, thickness = letters / 22, max(1, round(letters / 10))
    (width, _), _ = cv2.getTextSize(text, font, scale, thickness)
    margin = max(2, letters // 4)
    wide, high = width + 2 * margin, letters + 2 * margin
    x, y = place
    left = max(0, min(x - wide // 2, drawn.shape[1] - wide))
    top = y - high - margin if y >= high + margin else y + margin
    plate = free_place(Plate(left, top, wide, high), taken, len(drawn))
    left, top, *_ = plate
    cv2.rectangle(
        drawn, (left, top), (left + wide - 1, top + high - 1), colour, cv2.FILLED
    )
    bright = float(np.dot(colour, (0.299, 0.587, 0.114))) > 140
    cv2.putText(
        drawn,
        text,
        (left + margin, top + margin + letters),
        font,
        scale,
        BLACK if bright else WHITE,
        thickness,
        cv2.LINE_AA,
    )
    return plate
