"""`movseg demo`: the detector on a rendered frame, with nothing to download."""

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
            `detections.json`. It is made if need be.
        weights: As `movseg convert` writes them; None makes random ones.

    Returns:
        A report of a few lines.

    Raises:
        InputError: The weights cannot be read, or are of a trunk alone.
    """
    import jax

    from movseg_jax.detector import Detector

    frame, flow = render()
    motion = encode_flow(flow)
    if weights is None:
        config = ModelConfig(short_side=FRAME_SIZE[0], long_side=FRAME_SIZE[1])
        params = None
        origin = (
            "No trained weights come with this version: the detector's are random, and "
            "what it finds means nothing. This shows that all of it runs, and how fast."
        )
    else:
        loaded = load_weights(weights)
        config, params = loaded.config, loaded.params
        if "rpn" not in params:
            raise InputError(
                f"{weights}: holds a trunk without heads, to start training from."
            )
        origin = f"Weights: {weights}."
    inputs = stack([preprocess(frame, motion, config)])
    detector = Detector(config)
    if params is None:
        params = jax.jit(detector.init)(jax.random.key(0), inputs)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))

    start = time.perf_counter()
    detect = jax.jit(detector.apply).lower({"params": params}, inputs).compile()
    compile_seconds = time.perf_counter() - start
    jax.block_until_ready(detect({"params": params}, inputs))
    start = time.perf_counter()
    outputs = jax.block_until_ready(detect({"params": params}, inputs))
    seconds = time.perf_counter() - start

    found = jax.device_get(outputs.moving)
    _write(out, frame, motion, found, config)
    device = jax.devices()[0].device_kind
    streams = " and ".join(config.streams)
    return (
        f"Rendered a frame of {frame.shape[1]}x{frame.shape[0]} pixels with two moving "
        f"discs and its exact optical flow.\n{origin}\n"
        f"Detector ({streams}): {count / 1e6:.1f} million parameters, compiled in "
        f"{compile_seconds:.1f} s, {seconds:.2f} s a frame on {device}.\n"
        f"{int(found.valid.sum())} detections: {out}"
    )


def _write(out, frame, motion, found, config):
    try:
        out.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(out / "frame.png")
        channels = motion / [1, 6, 255] * 255
        Image.fromarray(channels.astype(np.uint8)).save(out / "motion.png")
        rows = found.valid[0]
        rles = masks.paste_rles(
            found.mask_logits[0][rows],
            found.boxes[0][rows],
            frame.shape[:2],
            convention=config.convention,
        )
        detections = [
            {
                "bbox": [round(float(x), 2) for x in box],
                "score": round(float(score), 4),
                "segmentation": masks.to_json(rle),
            }
            for box, score, rle in zip(
                found.boxes[0][rows], found.scores[0][rows], rles, strict=True
            )
        ]
        (out / "detections.json").write_text(json.dumps(detections))
    except OSError as error:
        raise InputError(f"{out}: cannot write there: {error.strerror}.") from None
