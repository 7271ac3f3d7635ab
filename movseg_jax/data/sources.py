"""Data sets by name: `open_source("davis2016", "train", root)`.

A data set is read from its original layout, which a reader indexes, or from a folder
that `prepare` wrote; both give equal examples. `LAYOUTS` names the readers; to add a
data set, write one and put it there.
"""

import dataclasses
import difflib
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from movseg_jax.data.datasets.coco import Coco, CocoClasses
from movseg_jax.data.datasets.davis import Davis2016, Davis2017
from movseg_jax.data.datasets.fbms import Fbms, Fbms3d
from movseg_jax.data.datasets.flyingthings3d import FlyingThings3d
from movseg_jax.data.datasets.folders import Folder, Rendered
from movseg_jax.data.datasets.video_instances import VideoInstances
from movseg_jax.data.datasets.youtube_vos import YoutubeVos, YtvosMoving
from movseg_jax.data.example import Source
from movseg_jax.data.frames import Frame, FrameSource
from movseg_jax.data.prepared import find_prepared, plain_options
from movseg_jax.errors import InputError


@runtime_checkable
class Layout(Protocol):
    """A data set's folder as its users have it; a frozen dataclass of its options."""

    root: Path
    split: str
    splits: dict[str, int]  # And their numbers of sequences.

    def class_names(self) -> Sequence[str]:
        """Names of the classes, from 0."""
        ...

    def expected_count(self) -> int | None:
        """The number of sequences that the official data set has."""
        ...

    def sequences(self) -> Sequence[str]:
        """Names of the videos; images are videos of one.

        Raises:
            InputError: The folder is not laid out so; says what was looked for.
        """
        ...

    def frames(self, sequence: str) -> list[Frame]:
        """The annotated frames of one.

        Raises:
            InputError: A file is missing or malformed.
        """
        ...


LAYOUTS: dict[str, type] = {
    "coco": Coco,
    "coco_classes": CocoClasses,
    "davis2016": Davis2016,
    "davis2017": Davis2017,
    "fbms": Fbms,
    "fbms_3d": Fbms3d,
    "flyingthings3d": FlyingThings3d,
    "folder": Folder,
    "rendered": Rendered,
    "video_instances": VideoInstances,
    "youtube_vos": YoutubeVos,
    "ytvos_moving": YtvosMoving,
}


def open_source(name: str, split: str, root: Path | str, **options: Any) -> Source:
    """Opens a data set.

    Args:
        name: A key of `LAYOUTS`.
        split: Of the data set, such as "train".
        root: Its folder, or one that `prepare` wrote.
        options: Of the data set's reader, such as resolution="270p"; see its class.
            `flow` is a folder <sequence>/<frame>.flo (.png, .npz, .pfm); a prepared
            folder has its own and takes none.

    Raises:
        InputError: There is no such data set, split or option, or the folder is neither
            laid out as it should be nor prepared; says what was looked for.
    """
    layout = open_layout(name, split, root, **options)
    defaults = plain_options(layout)
    given = {key: value for key, value in defaults.items() if key in options}
    prepared = find_prepared(name, split, Path(root), given=given, options=defaults)
    if prepared is None:
        return layout_source(name, layout)
    flow, own = options.get("flow"), prepared.metadata.get("flow")
    if flow is not None and not (isinstance(flow, str) and flow == own):
        shown = f"flow={own!r}" if own else "no flow"
        raise InputError(
            f"{prepared.folder}: is prepared, with {shown}, so that the option flow="
            f"{str(flow)!r:.120} has no effect. Leave it out, or hand in the folder of "
            "the original layout, or prepare it anew with that flow."
        )
    return prepared


def layout_class(name: str) -> type:
    """The class that reads a data set's original layout.

    Raises:
        InputError: There is no such data set.
    """
    if name not in LAYOUTS:
        close = difflib.get_close_matches(name, LAYOUTS, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"There is no data set {name!r}; expected one of {', '.join(LAYOUTS)}."
            f"{hint}"
        )
    return LAYOUTS[name]


def layout_source(name: str, layout: Layout) -> FrameSource:
    """Indexes a folder in its original layout.

    Raises:
        InputError: A file is missing or malformed.
    """
    frames: list[Frame] = []
    for sequence in layout.sequences():
        frames += layout.frames(sequence)
    return FrameSource(
        f"{name}/{layout.split}", tuple(layout.class_names()), tuple(frames)
    )


def open_layout(name: str, split: str, root: Path | str, **options: Any) -> Layout:
    """The reader of a data set's original layout; reads nothing yet.

    Options may be text, as of a command line: "True", "1000", a folder, "None".

    Raises:
        InputError: There is no such data set, split or option.
    """
    kind = layout_class(name)
    hints = _option_types(kind)
    for key, value in options.items():
        if key not in hints:
            raise InputError(
                f"{name} has no option {key!r}; expected one of "
                f"{', '.join(sorted(hints)) or 'none'}."
            )
        options[key] = _from_text(value, hints[key]) if type(value) is str else value
        if not _is_of(options[key], hints[key]):
            raise InputError(
                f"{name}: the option {key} is {str(value)!r:.120}, expected "
                f"{_show_type(hints[key])}."
            )
    if split not in kind.splits and not getattr(kind, "any_split", False):
        raise InputError(
            f"{name} has no split {split!r}; expected one of {', '.join(kind.splits)}."
        )
    return kind(root=Path(root), split=split, **options)


def option_names(name: str) -> Sequence[str]:
    """The options of a data set's reader.

    Raises:
        InputError: There is no such data set.
    """
    return sorted(_option_types(layout_class(name)))


def describe_layouts() -> str:
    """A text for people: every data set with its splits and options."""
    lines = []
    for name, kind in LAYOUTS.items():
        splits = [*kind.splits, *(["..."] if getattr(kind, "any_split", False) else [])]
        lines.append(f"{name}: {str(kind.__doc__).splitlines()[0]}")
        lines.append(f"    splits: {', '.join(splits)}")
        default = kind(root=Path(), split="")
        lines += [
            f"    {key}={getattr(default, key)}: {_show_type(hint)}"
            for key, hint in _option_types(kind).items()
        ]
    return "\n".join(lines)


def _option_types(kind: type) -> dict[str, Any]:
    """The annotations of a layout's options."""
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    return {key: hints[key] for key in fields if key not in ("root", "split")}


def _from_text(text: str, hint: Any) -> Any:
    """What text says of a type, or of the first of several that it can be of."""
    if typing.get_origin(hint) is typing.Literal:
        parts = [hint]
    else:
        parts = list(typing.get_args(hint)) or [hint]
    literals = [p for p in parts if typing.get_origin(p) is typing.Literal]
    if any(text in typing.get_args(part) for part in literals):
        return text
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words and type(words[text.lower()]) in parts:
        return words[text.lower()]
    if int in parts and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return Path(text) if Path in parts else text


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, a literal, or one of several of these."""
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_args(hint):
        return any(_is_of(value, part) for part in typing.get_args(hint))
    if isinstance(value, bool) and hint is int:
        return False
    return isinstance(value, hint)


def _show_type(hint: Any) -> str:
    if typing.get_args(hint):
        literal = typing.get_origin(hint) is typing.Literal
        show = repr if literal else _show_type
        return " or ".join(show(part) for part in typing.get_args(hint))
    names = {Path: "a path", bool: "True or False", int: "a number", str: "text"}
    return names.get(hint, "None")
