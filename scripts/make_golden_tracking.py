"""Makes tests/golden/tracking.npz: TrackEval's measures of tracks of masks.

    python scripts/make_golden_tracking.py

Needs TrackEval 1.3.0 (PyPI: trackeval), which the package itself does not: it brings
another OpenCV, so install it in an environment of its own. Small videos are made up
here; a pixel of a frame is the number of its object or track. TrackEval prefers lower
numbers where matches are equally good, so videos whose measures change when numbers are
exchanged are left out.
"""

from pathlib import Path

import numpy as np
from trackeval.datasets._base_dataset import _BaseDataset
from trackeval.metrics import CLEAR, HOTA, Identity

OUT = Path(__file__).parents[1] / "tests" / "golden" / "tracking.npz"
CASES = 24
SIZE = (24, 32)
QUIET = {"PRINT_CONFIG": False}
METRICS = (HOTA(), Identity(QUIET), CLEAR(QUIET))
FIELDS = {
    "hota": "HOTA", "det_a": "DetA", "ass_a": "AssA", "idf1": "IDF1", "idp": "IDP",
    "idr": "IDR", "id_switches": "IDSW",
}  # fmt: skip


def main():
    """Asks TrackEval about each video, and about all of them together."""
    generator, videos, answers = np.random.default_rng(0), [], []
    while len(videos) < CASES:
        truth, found = make_video(generator, len(videos))
        asked = [ask(truth, found)]
        for _ in range(3):
            numbers = np.append(0, 1 + generator.permutation(found.max()))
            asked.append(ask(truth, numbers[found]))
        if all(chosen(a) == chosen(asked[0]) for a in asked):
            videos.append((truth, found))
            answers.append(asked[0])
    together = {}
    for metric in METRICS:
        parts = {str(i): answer for i, answer in enumerate(answers)}
        together |= metric.combine_sequences(parts)
    arrays = {
        f"{name}{i}": ids.astype(np.uint8)
        for i, video in enumerate(videos)
        for name, ids in zip(("truth", "found"), video, strict=True)
    }
    arrays["names"] = np.array([*FIELDS])
    arrays["expected"] = np.array([chosen(answer) for answer in answers])
    arrays["together"] = np.array(chosen(together))
    np.savez_compressed(OUT, **arrays)


def make_video(generator, number):
    """Draws objects that move, cross and leave, and imperfect tracks of them."""
    count = int(generator.integers(6, 20))
    truth, found = np.zeros((2, count, *SIZE), int)
    objects = int(generator.integers(1, 5)) if number else 0
    swap = generator.permutation(objects)
    for i in range(objects):
        height, width = generator.integers(6, 14, 2)
        start, speed = generator.uniform(0, 18, 2), generator.uniform(-1.5, 1.5, 2)
        born, dies = generator.integers(0, 3), generator.integers(count // 2, count + 9)
        changes = int(generator.integers(1, count))
        for t in range(born, min(dies, count)):
            y, x = np.round(start + speed * t).astype(int)
            truth[t] = boxed(truth[t], y, x, height, width, i + 1)
            if generator.random() < 0.15:
                continue  # Lost.
            y, x = y + generator.integers(-1, 2), x + generator.integers(-1, 2)
            kept = t < changes or generator.random() < 0.3
            track = 1 + (i if kept else swap[i])
            found[t] = boxed(found[t], y, x, height, width, track)
            if generator.random() < 0.2:  # A part of it is another track.
                found[t] = boxed(found[t], y, x, height // 2, width, objects + 1 + i)
    for t in range(count):  # What is no object.
        if number == 0 or generator.random() < 0.3:
            y, x = generator.integers(0, 20, 2)
            found[t] = boxed(found[t], y, x, 5, 4, 2 * objects + 1)
    return truth, found * (number != 1)


def boxed(ids, y, x, height, width, number):
    """Returns ids with a box painted over them."""
    ids = ids.copy()
    ids[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = number
    return ids


def ask(truth, found):
    """Returns all fields of TrackEval's metrics of a video."""
    data = {"num_timesteps": len(truth), "similarity_scores": []}
    for name, ids in (("gt", truth), ("tracker", found)):
        present = np.unique(ids[ids > 0])
        data[f"{name}_ids"] = [
            np.searchsorted(present, np.unique(frame[frame > 0])) for frame in ids
        ]
        data[f"num_{name}_ids"] = len(present)
        data[f"num_{name}_dets"] = sum(map(len, data[f"{name}_ids"]))
    for true, seen in zip(truth, found, strict=True):
        masks = (
            np.array([ids == i for i in np.unique(ids[ids > 0])], np.uint8)
            for ids in (true, seen)
        )
        ious = _BaseDataset._calculate_mask_ious(
            *(each.reshape(-1, *SIZE) for each in masks)
        )
        data["similarity_scores"].append(ious)
    result = {}
    for metric in METRICS:
        result |= metric.eval_sequence(data)
    return result


def chosen(answer):
    """Picks the numbers of `FIELDS`; those of HOTA are averaged over its thresholds."""
    return [float(np.mean(answer[field])) for field in FIELDS.values()]


if __name__ == "__main__":
    main()
