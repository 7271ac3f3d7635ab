"""Opens data sets by name: `open_source("davis2016", "train", root)`.

A data set is read from its original layout, which a `Layout` indexes, or from a folder
that `prepare` wrote; both give equal examples. To add a data set, write a `Layout` and
add it to `LAYOUTS`.
"""

import dataclasses
import difflib
import re
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.coco import Coco, CocoClasses
from movseg_jax.data.datasets.davis import Davis2016, Davis2017
from movseg_jax.data.datasets.fbms import Fbms, Fbms3d
from movseg_jax.data.datasets.flyingthings3d import FlyingThings3d
from movseg_jax.data.datasets.folders import Folder, Rendered
from movseg_jax.data.datasets.tfds_builders import (
    TfdsDavis,
    TfdsLayout,
    TfdsSource,
    TfdsYoutubeVis,
)
from movseg_jax.data.datasets.video_instances import VideoInstances
from movseg_jax.data.datasets.youtube_vos import YoutubeVos, YtvosMoving
from movseg_jax.data.example import Source
from movseg_jax.data.frames import Frame, FrameSource
from movseg_jax.data.prepared import find_prepared, plain_options
from movseg_jax.errors import InputError, MissingInput
from movseg_jax.system.notes import note

T = TypeVar("T")

LAYOUTS: dict[str, type[Layout]] = {
    "coco": Coco,
    "coco_classes": CocoClasses,
    "davis2016": Davis2016,
    "davis2017": Davis2017,
    "fbms": Fbms,
    "fbms_3d": Fbms3d,
    "flyingthings3d": FlyingThings3d,
    "folder": Folder,
    "rendered": Rendered,
    "tfds_davis": TfdsDavis,
    "tfds_youtube_vis": TfdsYoutubeVis,
    "video_instances": VideoInstances,
    "youtube_vos": YoutubeVos,
    "ytvos_moving": YtvosMoving,
}


def open_source(
    name: str,
    split: str,
    root: Path | str,
    *,
    allow_missing: bool = False,
    **options: Any,
) -> Source:
    """Opens a data set.

    Args:
        name: The name of the data set, a key of `LAYOUTS`.
        split: The name of the split, such as "train".
        root: The data set's folder, or one that `prepare` wrote.
        allow_missing: Whether to leave out videos whose frames are missing; a note says
            how many. A prepared folder has what was there when it was written.
        options: The options of the data set's reader, such as resolution="270p"; see
            its class. `flow` is a folder <sequence>/<frame>.flo (.png, .npz, .pfm); a
            prepared folder has its own flow and accepts no other.

    Raises:
        InputError: There is no such data set, split or option, or the folder is not
            prepared and has another layout; says what was looked for.
    """
    layout = open_layout(name, split, root, **options)
    defaults = plain_options(layout)
    given = {key: value for key, value in defaults.items() if key in options}
    flow = options.get("flow")
    prepared = find_prepared(
        name,
        split,
        Path(root),
        given=given,
        options=defaults,
        flow=flow if isinstance(flow, str) else None,
    )
    if prepared is None:
        return layout_source(name, layout, allow_missing=allow_missing)
    own = prepared.metadata.get("flow")
    if flow is not None and not (isinstance(flow, str) and flow == own):
        shown = f"flow={own!r}" if own else "no flow"
        raise InputError(
            f"{prepared.folder}: is prepared, with {shown}, so that the option flow="
            f"{str(flow)!r:.120} has no effect. Leave it out, or hand in the folder of "
            "the original layout, or prepare it anew with that flow."
        )
    return prepared


def layout_class(name: str) -> type[Layout]:
    """Returns the class that reads a data set's original layout.

    Raises:
        InputError: There is no such data set.
    """
    if name not in LAYOUTS:
        close = difflib.get_close_matches(name, LAYOUTS, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        if name == "tfds_coco":
            hint = " The builder of TFDS has no masks: read COCO's files, as 'coco'."
        raise InputError(
            f"There is no data set {name!r}; expected one of {', '.join(LAYOUTS)}."
            f"{hint}"
        )
    return LAYOUTS[name]


def layout_source(
    name: str, layout: Layout, *, allow_missing: bool = False
) -> FrameSource | TfdsSource:
    """Indexes a folder in its original layout.

    Args:
        name: The name of the data set.
        layout: The reader of the folder.
        allow_missing: See `open_source`.

    Raises:
        InputError: A file is missing or malformed.
    """
    if isinstance(layout, TfdsLayout):
        return layout.source(name)
    frames: list[Frame] = []
    for listed in present(layout, layout.frames, allow_missing=allow_missing):
        frames += listed
    return FrameSource(
        f"{name}/{layout.split}", tuple(layout.class_names()), tuple(frames)
    )


def present(
    layout: Layout,
    read: Callable[[str], T],
    names: Sequence[str] | None = None,
    *,
    allow_missing: bool = False,
) -> list[T]:
    """Reads all sequences, or those that are there, and notes how many are not.

    Args:
        layout: The reader of the data set.
        read: A function of a sequence's name.
        names: The names of the sequences; None stands for all of the split.
        allow_missing: Whether to leave out sequences whose files are missing.

    Raises:
        InputError: A file is malformed; one is missing, which is not allowed; or none
            of the sequences is there.
    """
    names = layout.sequences() if names is None else names
    found, missing = [], []
    for name in names:
        try:
            found.append(read(name))
        except MissingInput as error:
            if not allow_missing:
                raise
            missing.append(error)
    if missing and not found:
        raise missing[0]
    if missing:
        note(
            f"{layout.root}: {len(missing)} of {len(names)} sequences of "
            f"{layout.split} are missing and left out."
        )
    return found


def open_layout(name: str, split: str, root: Path | str, **options: Any) -> Layout:
    """Makes the reader of a data set's original layout; it reads nothing yet.

    Options may be text, as on a command line: "True", "1000", a folder, "None".

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
    if split not in kind.splits and not kind.any_split:
        raise InputError(
            f"{name} has no split {split!r}; expected one of {', '.join(kind.splits)}."
        )
    return kind(root=Path(root), split=split, **options)


def option_names(name: str) -> Sequence[str]:
    """Lists the options of a data set's reader.

    Raises:
        InputError: There is no such data set.
    """
    return sorted(_option_types(layout_class(name)))


def describe_layouts() -> str:
    """Returns a text that lists every data set with its splits and options."""
    lines = []
    for name, kind in LAYOUTS.items():
        splits = [*kind.splits, *(["..."] if kind.any_split else [])]
        lines.append(f"{name}: {str(kind.__doc__).splitlines()[0]}")
        lines.append(f"    splits: {', '.join(splits)}")
        default = kind(root=Path(), split="")
        lines += [
            f"    {key}={getattr(default, key)}: {_show_type(hint)}"
            for key, hint in _option_types(kind).items()
        ]
    return "\n".join(lines)


def _option_types(kind: type[Layout]) -> dict[str, Any]:
    """Returns the types of a layout's options."""
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    return {key: hints[key] for key in fields if key not in ("root", "split")}


def _from_text(text: str, hint: Any) -> Any:
    """Converts text to a type, or to the first fitting one of a union."""
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
    """Returns whether a value fits a type, a literal or a union of these."""
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_args(hint):
        return any(_is_of(value, part) for part in typing.get_args(hint))
    if isinstance(value, bool) and hint is int:
        return False
    return isinstance(value, hint)


def _show_type(hint: Any) -> str:
    """Describes a type for users."""
    if typing.get_args(hint):
        literal = typing.get_origin(hint) is typing.Literal
        show = repr if literal else _show_type
        return " or ".join(show(part) for part in typing.get_args(hint))
    names = {Path: "a path", bool: "True or False", int: "a number", str: "text"}
    return names.get(hint, "None")
