"""Reads the settings that Detectron.pytorch keeps beside a run's weights.

`config_and_args.pkl` is a pickle of {"cfg": YAML, "args": ...}. It tells what no array
does: the factor of the number of proposals, and which features each head sees. The
YAML is never loaded, as it names Python's classes; a few of its keys are looked up.
"""

import io
import re
from pathlib import Path
from typing import Any, NamedTuple

from movseg_jax.config import Features, ModelConfig
from movseg_jax.convert.pickle_machine import read_pickle
from movseg_jax.errors import InputError
from movseg_jax.system.bounded import read_bytes

NAME = "config_and_args.pkl"
MAX_BYTES = 2**22
MAX_SCALE = 100.0  # Largest factor; the authors trained on 4 GPUs, with 1 or 2.
FEATURES: dict[str, Features] = {"0": "appearance", "1": "motion", "-1": "fused"}
HEADS = {"RPN": "rpn_features", "FAST_RCNN": "box_features", "MRCNN": "mask_features"}


class DetectronSettings(NamedTuple):
    """The settings of a run that matter for a converted model.

    Attributes:
        proposals: Number of proposals per image.
        features: Features that each head sees, by the field of `ModelConfig`; empty if
            the model has one stream.
    """

    proposals: int
    features: dict[str, Features]


def find_settings(weights: Path) -> Path | None:
    """Returns the settings of `RUN/ckpt/model_step4999.pth`, if they are there."""
    for folder in (weights.parent, weights.parent.parent):
        if (folder / NAME).is_file():
            return folder / NAME
    return None


def read_settings(path: Path) -> DetectronSettings:
    """Reads a run's settings.

    Raises:
        InputError: The file is damaged, names anything but plain data, or has another
            content.
    """
    data = read_bytes(path, MAX_BYTES, "detectron_settings.MAX_BYTES")
    content: Any = read_pickle(io.BytesIO(data), str(path))
    text = content.get("cfg") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{path}: has no settings of Detectron.pytorch, under 'cfg'.")
    found = re.search(r"\bRPN_COLLECT_SCALE: *([0-9.]{1,20})[\s,}]", f"{text}\n")
    if found is None:
        raise InputError(f"{path}: has no number FPN.RPN_COLLECT_SCALE.")
    try:
        scale = float(found[1])
    except ValueError:
        scale = 0.0
    if not 0 < scale <= MAX_SCALE:
        raise InputError(
            f"{path}: FPN.RPN_COLLECT_SCALE is {found[1]}, expected more than 0, and "
            f"at most {MAX_SCALE:g}."
        )
    # As Detectron.pytorch rounds.
    proposals = int(ModelConfig().proposals * scale + 0.5)
    return DetectronSettings(max(1, proposals), _features(text, path))


def _features(text: str, path: Path) -> dict[str, Features]:
    """The features of each head; sections are sorted, so its own index comes first."""
    found = {}
    if not re.search(r"\bCONV_BODY: *\S*BodyMuxer", text):
        return {}
    for section, field in HEADS.items():
        index = re.search(
            rf"(?<![A-Z_]){section}:.*?\bINPUT_INDEX: *(-?\d+)", text, re.DOTALL
        )
        if index is None or index[1] not in FEATURES:
            shown = "missing" if index is None else index[1]
            raise InputError(
                f"{path}: {section}.INPUT_INDEX is {shown}, expected 0, 1 or -1."
            )
        found[field] = FEATURES[index[1]]
    return found
