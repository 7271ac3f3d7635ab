"""`movseg demo`: the detector on a rendered frame, with nothing to download."""

import io
import json
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from movseg_jax import masks
from movseg_jax.config import ModelConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import encode_flow
from movseg_jax.preprocessing import preprocess, stack
from movseg_jax.weights.files import load_weights
from movseg_jax.writing import write_file

FRAME_SIZE = (480, 854)  # Height and width in pixels.


def render(
    size: tuple[int, int] = FRAME_SIZE,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 2"]]:
    """A frame with two discs that move over a panning background, and its true flow."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / (9 + 4 * c)) * np.cos(y / (13 + 3 * c)) for c in range(3)]
    frame = 120 + 60 * np.stack(waves, axis=-1)
    flow = np.full((height, width, 2), (-3, 0), np.float32)  # The camera pans right.
    discs = [
        ((0.35, 0.3), (220, 60, 50), (9, 4)),
        ((0.6, 0.7), (40, 90, 220), (-8, -2)),
    ]
    for (row, column), colour, motion in discs:
        inside = np.hypot(y - row * height, x - column * width) < 0.16 * height
        stripes = 0.8 + 0.2 * np.sin((x + y) / 6)
        frame[inside] = np.array(colour, np.float32) * stripes[inside][:, None]
        flow[inside] = motion
    return np.clip(frame, 0, 255).astype(np.uint8), flow


def run(out: Path, weights: Path | None = None) -> str:
    """Runs the detector on a rendered frame and writes what goes in and comes out.

    Args:
        out: Folder for `frame.png`, `motion.png` (the encoded flow) and
            `detections.json`; made if need be, earlier files of these names replaced.
        weights: As `movseg convert` writes them; None makes random ones.

    Returns:
        A report of a few lines.

    Raises:
        InputError: The weights cannot be read, or are of a trunk alone; the folder
            cannot be written to.
    """
    import jax

    from movseg_jax.detector import Detector

    frame, flow = render()
    config, params, origin = _model(weights)
    motion = encode_flow(flow, config.flow_encoding)
    inputs = stack([preprocess(frame, motion, config)])
    detector = Detector(config)
    if params is None:
        # This generator compiles faster than the usual one.
        key = jax.random.key(0, impl="rbg")
        params = jax.jit(detector.init)(key, inputs)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    params, inputs = jax.device_put((params, inputs))

    start = time.perf_counter()
    detect = jax.jit(detector.apply).lower({"params": params}, inputs).compile()
    compile_seconds = time.perf_counter() - start
    # The first call allocates.
    outputs = jax.block_until_ready(detect({"params": params}, inputs))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(detect({"params": params}, inputs))
        seconds.append(time.perf_counter() - start)

    outputs = jax.device_get(outputs)
    _write(out, frame, motion, outputs, config)
    device = jax.devices()[0].device_kind
    static = "" if outputs.static is None else f", {outputs.static.valid.sum()} static"
    return (
        f"Rendered a frame of {frame.shape[1]}x{frame.shape[0]} pixels with two moving "
        f"discs and its exact optical flow.\n{origin}\n"
        f"Detector ({' and '.join(config.streams)}): {count / 1e6:.1f} million "
        f"parameters, compiled in {compile_seconds:.1f} s, {min(seconds):.2f} s a "
        f"frame on {device}.\n"
        f"{outputs.moving.valid.sum()} detections{static}: {out}"
    )


def _model(weights):
    """The config, the parameters (None: random ones) and what to say of them."""
    if weights is None:
        config = ModelConfig(
            mask_features="appearance",
            static_branch=True,
            short_side=FRAME_SIZE[0],
            long_side=FRAME_SIZE[1],
        )
        return config, None, (
            "No trained weights come with this version: the detector's are random, and "
            "what it finds means nothing. This shows that all of it runs, and how fast."
        )  # fmt: skip
    loaded = load_weights(weights)
    if "rpn" not in loaded.params:
        raise InputError(f"{weights}: a trunk without heads, to start training from.")
    return loaded.config, loaded.params, f"Weights: {weights}."


def _write(out, frame, motion, outputs, config):
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error}.") from None
    channels = motion / [1, 6, 255] * 255
    for name, picture in (("frame", frame), ("motion", channels)):
        png = io.BytesIO()
        Image.fromarray(picture.astype(np.uint8)).save(png, format="PNG")
        write_file(out / f"{name}.png", png.getvalue())
    found = {
        branch: _to_json(detections, frame.shape[:2], config)
        for branch, detections in outputs._asdict().items()
        if detections is not None
    }
    write_file(out / "detections.json", json.dumps(found).encode())


def _to_json(found, frame_size, config):
    """Detections as COCO's results: boxes are [x, y, width, height]."""
    boxes, scores, classes, logits, valid = (part[0] for part in found)
    rles = masks.paste_rles(
        logits[valid], boxes[valid], frame_size, convention=config.convention
    )
    x0, y0, x1, y1 = boxes[valid].T
    rows = zip(
        np.stack([x0, y0, x1 - x0, y1 - y0], axis=1).round(2).tolist(),
        scores[valid].tolist(),
        classes[valid].tolist(),
        rles,
        strict=True,
    )
    return [
        {
            "bbox": box,
            "score": score,
            "category_id": kind + 1,
            "segmentation": masks.to_json(rle),
        }
        for box, score, kind, rle in rows
    ]
