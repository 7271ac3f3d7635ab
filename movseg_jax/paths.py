"""File names: natural order, and names from files that must stay in their folder."""

import os
import re
from pathlib import Path

from movseg_jax.errors import InputError

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that puts "frame2" before "frame10".

    Total, so that the order never depends on the file system: equal numbers written
    differently ("1", "01") are told apart by the name itself.
    """
    key = []
    for number, text in re.findall(r"([0-9]+)|([^0-9]+)", name):
        # Not int(number), which refuses very long ones; of two numbers without
        # leading zeros, the shorter is the smaller.
        digits = number.lstrip("0")
        key.append((0, len(digits), digits) if number else (1, 0, text))
    return [*key, (-1, 0, name)]


def list_images(folder: Path) -> list[Path]:
    """The image files in a folder, in natural order; hidden files are left out.

    A link that leads nowhere is listed: reading it fails, instead of a frame missing.

    Raises:
        InputError: There is no such folder, or it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.is_dir()]
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name.
        raise InputError(f"{folder}: cannot be read as a folder: {error}.") from None
    images = [
        name
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    ]
    return [folder / name for name in sorted(images, key=natural_key)]


def inside(root: Path, name: str, *, source: str) -> Path:
    """`root / name`, for a name that a file of someone else's gave.

    Args:
        root: The folder.
        name: Relative, with forward slashes.
        source: Names that file in messages.

    Raises:
        InputError: The name is empty or absolute, leads out of the folder, by "..", a
            drive or a symbolic link, or holds a NUL or a backslash.
    """
    parts = name.split("/") if isinstance(name, str) else [".."]
    bad = any(part in ("", ".", "..") for part in parts)
    if bad or re.search(r"^[A-Za-z]:|[\x00-\x1f\\]", name):
        raise InputError(
            f"{source}: {name!r:.120} is not a plain path below its folder; expected "
            'names joined by "/", without "..".'
        )
    path = root / name
    try:
        below = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        # A loop of links, a name that is too long, letters no file system knows.
        below = False
    if not below:
        raise InputError(f"{source}: {name!r:.120} leads out of {root}.")
    return path
