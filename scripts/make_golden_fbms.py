"""Makes tests/golden/fbms.json: results of the official evaluation of FBMS-59.

    python scripts/make_golden_fbms.py PROGRAM

PROGRAM is `MoSegEvalPR`, compiled from `evalcode/MoSegEval_PR.cpp` of the data set's
evaluation code (or of github.com/achalddave/fbms-evaluation), which also needs
`libhungarian` of C. Stachniss. Only numbers are kept: small sequences made up here, and
what the program prints. It matches equally good pairs by their ids, so sequences whose
result changes when labels are exchanged are left out.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "golden" / "fbms.json"
HEADINGS = {
    "frames": "Number of labeled frames",
    "density": "Average region density",
    "means": "Average Precision, Recall",
    "visible": "Visible objects",
    "extracted": "Extracted objects",
}


def main():
    """Asks the program about made-up sequences, some weighted and some sparse."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("--cases", type=int, default=40)
    program = parser.parse_args().program.resolve()
    generator, cases = np.random.default_rng(0), []
    while len(cases) < parser.parse_args().cases:
        case = make_case(generator, len(cases))
        tracks = case["tracks"] or pixels(case)
        labels = sorted({label for label, _, _ in tracks})
        answers = []
        for i in range(4):
            order = generator.permutation(labels).tolist() if i else labels
            exchange = dict(zip(labels, order, strict=True))
            renamed = [(exchange[label], *rest) for label, *rest in tracks]
            answers.append(ask(program, case, renamed))
        if all(same(answer, answers[0]) for answer in answers):
            cases.append({**case, "expected": answers[0]})
    OUT.write_text(
        json.dumps(cases, separators=(",", ":")).replace('{"f', '\n{"f') + "\n"
    )


def make_case(generator, number):
    """Makes up a sequence; tracks are ids of pixels or [label, first frame, points]."""
    height, width, count = 5, 7, int(generator.integers(1, 4))
    frame_count = int(generator.choice([8, 12, 60, 250]))
    frames = np.sort(generator.choice(frame_count, count, replace=False))
    regions = int(generator.integers(1, 5))
    truth = blocks(generator, count, height, width, regions)
    weighted = number % 3 == 1
    weights = generator.choice([0, 20, 128, 255, 255], truth.shape)
    shorter = [n for n in (10, 50, 200) if n < frame_count and number % 4 == 3]
    evaluated = int(generator.choice(shorter or [frame_count]))
    return {
        "frame_count": frame_count,
        "evaluated": evaluated,
        "regions": regions,
        "frames": frames.tolist(),
        "truth": truth.tolist(),
        "weights": weights.tolist() if weighted else None,
        "ids": None if number % 2 else make_ids(generator, truth).tolist(),
        "tracks": make_points(generator, frames, height, width) if number % 2 else None,
    }


def blocks(generator, count, height, width, top):
    """Draws ids in blocks of about two pixels."""
    coarse = generator.integers(0, top, (count, -(-height // 2), -(-width // 2)))
    return np.kron(coarse, np.ones((1, 2, 2), int))[:, :height, :width]


def make_ids(generator, truth):
    """Draws the track of each pixel: roughly the truth under other numbers."""
    other = blocks(generator, *truth.shape, int(generator.integers(1, 7)))
    names = generator.permutation(8)
    wrong = generator.random(truth.shape) < generator.choice([0.1, 0.5, 1])
    return np.where(wrong, names[other], names[truth])


def pixels(case):
    """Returns ids as tracks of one point each."""
    return [
        [label, frame, [[x, y]]]
        for frame, rows in zip(case["frames"], case["ids"] or [], strict=False)
        for y, row in enumerate(rows)
        for x, label in enumerate(row)
    ]


def make_points(generator, frames, height, width):
    """Draws moving points; some leave the frame or meet others."""
    tracks = []
    for _ in range(int(generator.integers(0, 40))):
        first = int(generator.choice(frames)) - int(generator.integers(0, 3))
        place = generator.uniform(-1, [width, height])
        steps = generator.normal(scale=0.5, size=(int(generator.integers(1, 8)), 2))
        points = np.round(place + np.cumsum(steps, axis=0), 2)
        tracks.append([int(generator.choice([0, 1, 2, 5])), first, points.tolist()])
    return tracks


def ask(program, case, tracks):
    """Runs the program; returns the numbers it prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shotDef.dat").write_text(write_truth(folder, case))
        lines = [case["evaluated"], len(tracks)]
        for label, first, points in tracks:
            lines += [label, len(points)]
            lines += [f"{x} {y} {first + i}" for i, (x, y) in enumerate(points)]
        (folder / "tracks.dat").write_text("\n".join(map(str, lines)) + "\n")
        command = [program, folder / "shotDef.dat", folder / "tracks.dat", "0.75"]
        subprocess.run(command, check=True, capture_output=True)
        lines = (folder / "tracksNumbers.txt").read_text().split("\n")
    found = {}
    for key, heading in HEADINGS.items():
        (place,) = (i for i, line in enumerate(lines) if line.startswith(heading))
        words = lines[place + 1].split()
        found[key] = [None if "nan" in word else float(word) for word in words]
    return found


def write_truth(folder, case):
    """Writes the images; returns the text of Def.dat."""
    weights = case["weights"]
    lines = ["Definition", "", "Total number of regions:", case["regions"]]
    for region in range(case["regions"]):
        lines += ["Scale of region:", region * 70000 if weights else region * 60]
    lines += ["", "Confusion penality matrix"]
    lines += [" ".join("0" * case["regions"])] * case["regions"]
    lines += ["", "Total number of frames in this shot:", case["frame_count"]]
    lines += ["Total number of labeled frames:", len(case["frames"])]
    for i, frame in enumerate(case["frames"]):
        truth = np.array(case["truth"][i])
        head = f"{truth.shape[1]} {truth.shape[0]}\n255\n".encode()
        if weights:
            colours = truth[..., None] * 70000 >> np.array([16, 8, 0]) & 255
            image = b"P6\n" + head + colours.astype(np.uint8).tobytes()
            (folder / f"{i}.ppm").write_bytes(image)
            levels = np.array(weights[i], np.uint8).tobytes()
            (folder / f"{i}.pgm").write_bytes(b"P5\n" + head + levels)
        else:
            levels = (truth * 60).astype(np.uint8).tobytes()
            (folder / f"{i}.pgm").write_bytes(b"P5\n" + head + levels)
        lines += ["Frame number:", frame, "File name:"]
        lines += [f"{i}.ppm" if weights else f"{i}.pgm", "Input file name:", "0.jpg"]
    return "\n".join(map(str, lines)) + "\n"


def same(answer, other):
    """Returns whether two answers agree up to rounding."""
    for key, values in other.items():
        for value, found in zip(values, answer[key], strict=True):
            if (value is None) != (found is None):
                return False
            if value is not None and abs(value - found) > 1e-4:
                return False
    return True


if __name__ == "__main__":
    main()
