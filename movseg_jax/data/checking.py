"""Checks a data set's folder before it is used: `movseg data check`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from movseg_jax.data.datasets.coco import Coco
from movseg_jax.data.datasets.tfds_builders import TfdsLayout
from movseg_jax.data.frames import Frame, read_frame_flow
from movseg_jax.data.sources import Layout, open_layout
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, mask_size
from movseg_jax.system.paths import list_images

MAX_PROBLEMS = 50


def check(
    name: str,
    split: str,
    root: Path | str,
    *,
    thorough: bool = False,
    max_problems: int = MAX_PROBLEMS,
    **options: Any,
) -> list[str]:
    """Lists the problems of a data set in its original layout.

    Args:
        name: The name of the data set, a key of `sources.LAYOUTS`.
        split: The name of the split.
        root: The data set's folder.
        thorough: Whether to read every annotation and flow, not just the first one of a
            video and images' headers.
        max_problems: The number of problems after which the list ends with a note.
        options: The options of the data set's reader.

    Returns:
        One sentence per problem, which names a file and what was expected.

    Raises:
        InputError: There is no such data set, split or option.
    """
    layout = open_layout(name, split, root, **options)
    problems: list[str] = []
    for problem in _problems(layout, thorough):
        if problem in problems:
            continue  # A problem of a video is found once for each of its frames.
        if len(problems) == max_problems:
            problems.append(f"... and more; this list ends after {max_problems}.")
            break
        problems.append(problem)
    return problems


def _problems(layout: Layout, thorough: bool) -> Iterator[str]:
    try:
        if isinstance(layout, TfdsLayout):
            source = layout.source(layout.builder)
            for number in range(len(source) if thorough else 0):
                source[number]
            return
        if isinstance(layout, Coco):
            wrong = False
            for problem in layout.problems():
                wrong = True
                yield problem
            if wrong:
                return  # Its rows cannot be matched to images.
        sequences = layout.sequences()
        expected = layout.expected_count()
    except InputError as error:
        yield str(error)
        return
    if expected and len(sequences) != expected:
        yield (
            f"{layout.root}: holds {len(sequences)} sequences (or images) of the split "
            f"{layout.split!r}, expected {expected}."
        )
    for sequence in sequences:
        try:
            frames = layout.frames(sequence)
        except InputError as error:
            yield str(error)
            continue
        if not frames:
            yield f"{layout.root}: {sequence} has no annotated frames."
        elif layout.every_frame:
            annotated = {frame.image for frame in frames}
            for image in list_images(frames[0].image.parent):
                if image not in annotated:
                    yield f"{image}: has no annotation; expected one for every frame."
        for number, frame in enumerate(frames):
            # What is wrong with all masks of a video shows in the first one.
            is_sample = number == 0 and len(frames) > 1
            yield from _frame_problems(frame, thorough or is_sample)


def _frame_problems(frame: Frame, thorough: bool) -> Iterator[str]:
    files = [(frame.image, False)]
    files += [(file, True) for file in frame.annotation.files]
    for file, is_mask in files:
        if file.suffix.lower() == ".pfm":
            continue
        try:
            height, width = mask_size(file) if is_mask else image_size(file)
        except InputError as error:
            yield str(error)
            return
        if (height, width) != frame.size:
            yield (
                f"{file}: is of {height}x{width} pixels (height x width), expected "
                f"{frame.size[0]}x{frame.size[1]}."
            )
            return
    if thorough:
        try:
            frame.annotation.read(frame.size)
            if frame.flow:
                read_frame_flow(frame)
        except InputError as error:
            yield str(error)
