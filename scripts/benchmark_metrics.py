"""Times the measures, in turns with others' tools where those compute the same.

    python scripts/benchmark_metrics.py [--frames N] [--repeats N]

Prints a JSON line for each case: milliseconds of processor time a frame, the best of
the repetitions, and how many times as long the other tool takes. The frames are of
480x854 pixels, with three objects that move and four tracks, of which three follow
them; the images of the COCO case have 20 objects and 50 detections.

- "j_and_f": DAVIS 2017's J&F with assignment, beside TrackEval's `JAndF`;
- "average_precision": box and mask AP, beside pycocotools' `COCOeval`;
- "davis16": J and F of the foreground; "stability": with T; no other tool to compare;
- "draws": `movseg eval` draws sequences for its intervals; this is AP over 20 videos,
  and a "frame" is one draw.

TrackEval is left out if it is not installed (`pip install --no-deps trackeval
scikit-image`).
"""

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from movseg_jax import masks
from movseg_jax.evaluation.coco import evaluate_coco
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.davis import Davis16
from movseg_jax.metrics.davis17 import Davis17Unsupervised
from movseg_jax.metrics.detections import DetectionPrecision
from movseg_jax.results import Sighting, TrackedFrame

SIZE = (480, 854)


def blob(place: int, frame: int, shift: int = 0) -> np.ndarray:
    """A mask of a star that moves and turns."""
    turned = np.linspace(0, 2 * np.pi, 25)[:-1] + 0.03 * frame
    radius = 50 + 12 * place + 18 * np.cos(5 * turned)
    centre = (140 + 200 * place + 2 * frame + shift, 150 + 45 * place + shift)
    corners = np.add(
        centre, np.stack([np.cos(turned), np.sin(turned)], 1) * radius[:, None]
    )
    mask = np.zeros(SIZE, np.uint8)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.view(bool)


def clip(frames: int) -> list[ComparedFrame]:
    """A video and what was found in it."""
    result = []
    for t in range(frames):
        truth = np.zeros(SIZE, np.int32)
        for k in range(3):
            truth[blob(k, t)] = k + 1
        found = [masks.encode(blob(k, t, shift=3 + k)) for k in range(4)]
        sightings = tuple(
            Sighting(k + 1, rle, 0.9, True, 1.0) for k, rle in enumerate(found)
        )
        tracks = TrackedFrame(f"{t:05d}", SIZE, None, sightings)
        result.append(ComparedFrame(f"{t:05d}", t, truth, tracks))
    return result


def best_of(repeats: int, *functions: Callable[[], Any]) -> list[float]:
    """Returns the least processor time of each, in seconds; calls them in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, own in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            own.append(time.process_time() - start)
    return [min(own) for own in times]


def say(case: str, frames: int, own: float, other: float | None = None) -> None:
    """Prints a case's line."""
    row: dict[str, Any] = {"case": case, "ms_per_frame": round(1e3 * own / frames, 3)}
    if other is not None:
        row |= {"other_ms_per_frame": round(1e3 * other / frames, 3)}
        row |= {"other_over_own": round(other / own, 2)}
    print(json.dumps(row), flush=True)


def trackeval_of(frames: list[ComparedFrame]) -> Callable[[], Any] | None:
    """TrackEval's measure on the same masks."""
    try:
        import trackeval
    except ImportError:
        return None
    metric = trackeval.metrics.JAndF()
    metric.optim_type = "J&F"
    data: dict[str, Any] = {"num_timesteps": len(frames)}
    data |= {"num_gt_ids": 3, "num_tracker_ids": 4}
    data["gt_ids"] = [np.arange(3) for _ in frames]
    data["tracker_ids"] = [np.arange(4) for _ in frames]
    data["gt_dets"] = [
        [masks.to_json(masks.encode(frame.truth == k + 1)) for k in range(3)]
        for frame in frames
    ]
    data["tracker_dets"] = [
        [masks.to_json(s.mask) for s in frame.tracks.sightings] for frame in frames
    ]
    return lambda: metric.eval_sequence(data)


def coco_case(images: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Average precision of random circles, by this package and by COCOeval."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)

    def circle(x, y, r):
        mask = np.zeros(SIZE, np.uint8)
        cv2.circle(mask, (int(x), int(y)), int(r), 1, -1)
        return masks.encode(mask.view(bool))

    truth: dict[str, Any] = {"categories": [{"id": 1, "name": "object"}]}
    truth |= {"images": [], "annotations": []}
    results = []
    for image in range(1, images + 1):
        height, width = SIZE
        truth["images"].append({"id": image, "height": height, "width": width})
        places = rng.uniform((60, 60, 8), (800, 420, 60), (20, 3))
        for place in places:
            rle = circle(*place)
            x0, y0, x1, y1 = masks.tight_box(masks.decode(rle)).tolist()
            row = {"image_id": image, "category_id": 1, "iscrowd": 0}
            row |= {"id": len(truth["annotations"]) + 1, "area": masks.area(rle)}
            row |= {
                "segmentation": masks.to_json(rle),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            truth["annotations"].append(row)
        for place in np.concatenate([places, places, places[:10]]):
            rle = circle(*(place + rng.normal(0, 5, 3)).clip(2, 800))
            x0, y0, x1, y1 = masks.tight_box(masks.decode(rle)).tolist()
            row = {"image_id": image, "category_id": 1, "score": float(rng.random())}
            row |= {
                "segmentation": masks.to_json(rle),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            results.append(row)

    copies = json.loads(json.dumps([truth, results]))  # COCO writes into them.

    def theirs():
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = copies[0]
            coco.createIndex()
            found = coco.loadRes(copies[1])
            for kind in ("bbox", "segm"):
                evaluation = COCOeval(coco, found, kind)
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()

    return lambda: evaluate_coco(results, truth), theirs


def draws_case(draws: int) -> Callable[[], Any]:
    """Average precision of randomly drawn sequences, as intervals need it."""
    measure = DetectionPrecision()
    scores = [measure.add(iter(clip(10))) for _ in range(20)]
    rng = np.random.default_rng(0)

    def run():
        for _ in range(draws):
            drawn = [scores[i] for i in rng.integers(0, 20, 20)]
            measure.compute(measure.merge(drawn))

    return run


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    frames, repeats = options.frames, options.repeats
    video = clip(frames)

    def fresh():  # A frame keeps the ids that it has painted.
        return (ComparedFrame(f.name, f.index, f.truth, f.tracks) for f in video)

    def own():
        return Davis17Unsupervised().add(fresh())

    other = trackeval_of(video)
    if other is None:
        say("j_and_f", frames, *best_of(repeats, own))
    else:
        say("j_and_f", frames, *best_of(repeats, own, other))
    say("average_precision", frames, *best_of(repeats, *coco_case(frames)))
    foreground = Davis16(None).add
    say("davis16", frames, *best_of(repeats, lambda: foreground(fresh())))
    stability = Davis16("python").add
    say("stability", frames, *best_of(1, lambda: stability(fresh())))
    say("draws", 10, *best_of(repeats, draws_case(10)))


if __name__ == "__main__":
    main()
