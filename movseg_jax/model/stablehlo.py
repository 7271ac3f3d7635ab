"""Writes a detector to a file that runs with JAX alone.

`jax.export` stores the detector, compiled for one size of frames as far as StableHLO,
for CPUs, NVIDIA GPUs and TPUs. The weights are inside, so whoever has the file needs
neither this package nor Flax:

    detect = jax.export.deserialize(Path("detector.stablehlo").read_bytes()).call
    outputs = detect({"image": image, "motion": motion})

A JSON card beside the file describes its inputs and outputs, and says which weights and
which licence it has. JAX reads such files for at least six months after they were
written (its documentation, "Compatibility guarantees").
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from movseg_jax.errors import InputError
from movseg_jax.images import MAX_PIXELS
from movseg_jax.model.detector import STREAM_INPUTS, Detector
from movseg_jax.model.inputs import padded_size, resized_size
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.types import Array, Inputs

FORMAT = 1  # Of the card; raised when older code would misread newer files.
SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
# What the arrays of the exported function are; the card has their shapes.
MEANINGS = {
    "image": "the RGB frame, (pixel - mean) / std, then resized (bilinear)",
    "motion": "the optical flow, resized, then encoded (flow.encode_flow)",
    "boxes": "[x0, y0, x1, y1] in pixels of the frame before resizing, continuous",
    "scores": "0 to 1",
    "classes": "from 0",
    "mask_logits": "over the box: above 0 is the object",
    "valid": "False for rows that are padding",
}


def export_detector(
    detector: TrainedDetector,
    path: str | Path,
    *,
    frame_size: tuple[int, int],
    batch_size: int = 1,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes a detector as StableHLO, and a card, `<name>.json`, beside it.

    The exported function takes a dict of the arrays that the model's streams need:
    "image" and "motion", float32 [batch, h, w, 3] without padding. They are those of
    `model.make_inputs`, whose padding is cut off. It returns a dict: "moving", and
    "static" if the model has a static branch, each a dict of the arrays of
    `types.Detections`.

    Args:
        detector: The detector.
        path: The file, whose name ends in .stablehlo.
        frame_size: Height and width of the frames before they are resized.
        batch_size: The number of frames that the function takes at once.
        overwrite: Whether to replace existing files.

    Returns:
        The content of the card.

    Raises:
        InputError: An argument is out of range, or the files exist or cannot be
            written.
    """
    path = Path(path)
    card_path = path.with_suffix(".json")
    _check(path, card_path, frame_size, batch_size, overwrite)
    data, inputs, outputs = _export(detector, frame_size, batch_size)
    arithmetic = detector.config.arithmetic
    card = {
        "format": FORMAT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": detector.licence or "that of the weights",
        "weights": {"name": detector.name, "sha256": detector.digest},
        "platforms": PLATFORMS,
        "jax": jax.__version__,
        "frame_size": frame_size,
        "inputs": inputs,
        "outputs": outputs,
        "channel_order": arithmetic.channel_order,
        "mean": arithmetic.mean,
        "std": arithmetic.std,
        "flow_encoding": detector.config.flow_encoding,
        "model": dataclasses.asdict(detector.config),
    }
    text = json.dumps(card, indent=2) + "\n"
    make_folder(path.parent)
    write_file(path, data)
    write_file(card_path, text.encode())
    return json.loads(text)  # With lists in the place of tuples, as in the file.


def _export(
    detector: TrainedDetector, frame_size: tuple[int, int], batch_size: int
) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """Returns the exported function, and what is known of its inputs and outputs."""
    config = detector.config
    size, scale = resized_size(frame_size, config)
    padded = padded_size(size, config)
    known = {"size": size, "frame_size": frame_size, "scale": scale}
    # Copies on several devices would make a program for as many.
    params = jax.tree.map(jnp.asarray, jax.device_get(detector.params))
    # "bfloat16" is what is fastest on this machine; the file is for others, too.
    precision = "highest" if detector.precision == "highest" else None
    model = Detector(config, precision=precision)

    def detect(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        missing = [(0, p - n) for p, n in zip(padded, size, strict=True)]
        arrays = {k: jnp.pad(v, [(0, 0), *missing, (0, 0)]) for k, v in arrays.items()}
        rows = {k: jnp.tile(jnp.float32(v), (batch_size, 1)) for k, v in known.items()}
        inputs = Inputs(arrays.get("image"), arrays.get("motion"), **rows)
        outputs: Any = model.apply({"params": params}, inputs)
        found = {"moving": outputs.moving, "static": outputs.static}
        return {k: v._asdict() for k, v in found.items() if v is not None}

    shape = jax.ShapeDtypeStruct((batch_size, *size, 3), jnp.float32)
    arguments = {STREAM_INPUTS[stream]: shape for stream in config.streams}
    exported = jax.export.export(jax.jit(detect), platforms=PLATFORMS)(arguments)
    outputs = jax.eval_shape(detect, arguments)
    described = {name: _described(arrays) for name, arrays in outputs.items()}
    return bytes(exported.serialize()), _described(arguments), described


def _check(path, card_path, frame_size, batch_size, overwrite) -> None:
    """Raises an InputError if an argument of `export_detector` is wrong."""
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: the name of an exported detector ends in {SUFFIX}.")
    height, width = frame_size
    if not (height > 0 < width and height * width <= MAX_PIXELS):
        raise InputError(
            f"{path}: `frame_size` is {height} {width}, expected a height and a width "
            f"of at least 1 and at most {MAX_PIXELS} pixels (images.MAX_PIXELS)."
        )
    if batch_size < 1:
        raise InputError(f"{path}: `batch_size` is {batch_size}, expected 1 or more.")
    existing = [str(p) for p in (path, card_path) if p.exists()]
    if existing and not overwrite:
        raise InputError(
            f"{' and '.join(existing)}: exist already.",
            way_out="`overwrite=True` replaces them.",
        )


def _described(arrays: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """Returns shape, dtype and meaning of each array, as JSON."""
    return {
        name: {
            "shape": array.shape,
            "dtype": array.dtype.name,
            "meaning": MEANINGS[name],
        }
        for name, array in arrays.items()
    }
