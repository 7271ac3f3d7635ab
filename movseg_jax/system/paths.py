"""File names: natural order, and names from files that must stay in their folder."""

import dataclasses
import glob
import os
import re
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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


def order_frames(names: Iterable[str], *, source: str) -> list[str]:
    """Sorts the names of a video's frames: "frame2" before "frame10", "-1" before "0".

    A sign is a minus at the front of a name or behind one of "=_(,[" or a space.

    Args:
        names: The names of the files.
        source: The folder or pattern in messages.

    Raises:
        InputError: The order is ambiguous: numbers such as 0.5 and 0.25 are in another
            order as decimals than part by part, or all numbers follow a "-", which may
            be a minus or a dash.
    """
    plain = sorted(names, key=natural_key)
    if not any(re.search(r"[0-9][.e][-+0-9]|-[0-9]", name) for name in plain):
        return plain
    tokens = {name: _signed_tokens(Path(name).stem) for name in plain}
    unsigned = sorted(plain, key=lambda name: natural_key(Path(name).stem))
    signed = sorted(unsigned, key=lambda name: [t.by_parts() for t in tokens[name]])
    decimal = sorted(unsigned, key=lambda name: [t.by_value() for t in tokens[name]])
    if signed != decimal:
        _refuse_order(signed, decimal, "numbers such as 0.5 as decimals", source)
    if signed == unsigned:
        return plain
    if all(any(token.sign < 0 for token in tokens[name]) for name in plain):
        _refuse_order(unsigned, signed, '"-" as a minus', source)
    return signed


class _Token(NamedTuple):
    """A piece of a name: text (its sign is 0) or a number (its sign is 1 or -1)."""

    text: str
    sign: int = 0

    def by_parts(self) -> tuple[int, tuple[Any, ...]]:
        """A key that compares the numbers around points one after the other."""
        if not self.sign:
            return 1, (self.text,)
        return 0, tuple(self.sign * Decimal(part) for part in self.text.split("."))

    def by_value(self) -> tuple[int, tuple[Any, ...]]:
        """A key that compares numbers with one point as decimals."""
        if not self.sign or self.text.count(".") > 1:
            return self.by_parts()
        return 0, (self.sign * Decimal(self.text),)


def _signed_tokens(stem: str) -> list[_Token]:
    number = r"[0-9]+(?:\.[0-9]+)*(?:e[-+][0-9]{1,3}(?![0-9]))?"
    tokens = []
    for found in re.finditer(rf"{number}|[^0-9]+", stem):
        text = found[0]
        if not "0" <= text[0] <= "9":
            tokens.append(_Token(text))
            continue
        minus = re.search(r"(?:^|[=_(,\[ ])-$", stem[: found.start()])
        if minus:
            before = tokens.pop().text[:-1]
            tokens += [_Token(before)] if before else []
        tokens.append(_Token(text, -1 if minus else 1))
    return tokens


def _refuse_order(one: list[str], other: list[str], by: str, source: str) -> NoReturn:
    first, second = next((a, b) for a, b in zip(one, other, strict=True) if a != b)
    raise InputError(
        f"{source}: the order of its frames is ambiguous: {second!r} comes before "
        f"{first!r} if one reads {by}, and after it if not. Rename them so that all "
        "numbers have the same number of digits and no sign, such as 0.500 or 012."
    )


def list_images(folder: Path, *, frames: bool = True) -> list[Path]:
    """The image files in a folder, in natural order; hidden files are left out.

    A link that leads nowhere is listed: reading it fails, instead of a frame missing.

    Args:
        folder: The folder.
        frames: Whether the order matters, as it does for those of a video.

    Raises:
        InputError: There is no such folder, it cannot be read, or the order of its
            frames is ambiguous, as in `order_frames`.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.is_dir()]
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name.
        raise InputError(f"{folder}: cannot be read as a folder: {error}.") from None
    images = [name for name in names if is_image(name)]
    if frames:
        ordered = order_frames(images, source=str(folder))
    else:
        ordered = sorted(images, key=natural_key)
    return [folder / name for name in ordered]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def is_camera(source: str | Path | int) -> bool:
    """Whether a source of frames is a camera's number, and no file of that name."""
    text = str(source)
    number = text.isascii() and text.isdecimal()
    return number and (isinstance(source, int) or not Path(text).exists())


def matching(pattern: str, wanted: Callable[[Path], bool]) -> list[Path]:
    """Returns the paths that match a pattern and are wanted, in no order.

    Brackets in it are letters where a folder has them in its name, and everywhere if
    nothing matches otherwise.
    """
    parts, known = Path(pattern).parts, 0
    while known < len(parts) and Path(*parts[: known + 1]).is_dir():
        known += 1
    folder = glob.escape(str(Path(*parts[:known]))) if known else ""
    rest = str(Path(*parts[known:]))
    found = []
    for name in (rest, rest.replace("[", "[[]")):
        paths = map(Path, glob.glob(str(Path(folder, name)), recursive=True))
        if found := [path for path in paths if wanted(path)]:
            break
    return found


def refuse_overlap(output: Path, inputs: Iterable[Path]) -> None:
    """Refuses an output that is, contains or lies in an input, whatever links say.

    Args:
        output: The file or folder to write, which need not exist.
        inputs: The files and folders to read. Those that do not exist do not matter.

    Raises:
        InputError: It overlaps with one of them.
    """
    own = _identity(output)
    above = _identities_above(output)
    known: dict[Path, set[tuple[int, int]]] = {}
    for path in inputs:
        identity = _identity(path)
        if identity is None:
            continue
        folder = _resolved(path).parent
        if folder not in known:  # Of all frames of a video it is one.
            known[folder] = {*filter(None, [_identity(folder)])}
            known[folder] |= _identities_above(folder)
        relation = None
        if identity == own:
            relation = "is"
        elif identity in above:
            relation = "lies in"
        elif own in known[folder]:
            relation = "contains"
        if relation:
            raise InputError(
                f"{output}: what is to be written {relation} what is read, {path}; "
                "choose another place for it, so that nothing read is replaced."
            )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # A loop of links, a NUL.
        return path.absolute()


def _identity(path: Path) -> tuple[int, int] | None:
    """The device and number of a file or folder; None if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _identities_above(path: Path) -> set[tuple[int, int]]:
    return {*filter(None, map(_identity, _resolved(path).parents))}


def refuse_addresses(arguments: Any, allowed: Collection[str | Path] = ()) -> None:
    """Refuses addresses such as "gs://bucket/folder" among arguments.

    They would be taken for names of folders here.

    Args:
        arguments: Texts, paths, and tuples, lists and dataclasses of these; whatever
            else they hold does not matter.
        allowed: Texts and paths that are read as addresses.

    Raises:
        InputError: One of them is an address.
    """
    if dataclasses.is_dataclass(arguments):
        for field in dataclasses.fields(arguments):
            refuse_addresses(getattr(arguments, field.name), allowed)
    elif isinstance(arguments, tuple | list):
        for argument in arguments:
            refuse_addresses(argument, allowed)
    elif isinstance(arguments, str | Path) and arguments not in allowed:
        # A `Path` of an address has lost a slash.
        found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+", text := str(arguments))
        if found:
            raise InputError(
                f"{found[1]}://{text[found.end() :]} is an address, which is not read "
                "or written; expected a path. Copy to and from a local folder with "
                "the service's own tool, or mount it."
            )


def _without_links(path: Path) -> Path:
    """The path without links; an error if they form a loop, on every Python."""
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        return path.resolve()


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
        below = _without_links(path).is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        # A loop of links, a name that is too long, letters no file system knows.
        below = False
    if not below:
        raise InputError(f"{source}: {name!r:.120} leads out of {root}.")
    return path
