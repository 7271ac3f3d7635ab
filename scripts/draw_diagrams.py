"""Draws the diagrams of docs/method.md.

    python scripts/draw_diagrams.py

Each diagram is boxes on a grid and arrows between them, written as SVG below
docs/pictures. matplotlib draws them; the same version gives the same bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).parents[1] / "docs" / "pictures"
COLOURS = {
    "data": "#e8eef7",
    "appearance": "#d5e8d4",
    "motion": "#ffe6cc",
    "fused": "#e1d5e7",
    "host": "#f5f5f5",
    "frozen": "#dae3ea",
}
WIDTH, HEIGHT = 1.7, 0.62  # Of a box, in inches.


class Box(NamedTuple):
    """A box of a diagram.

    Attributes:
        text: The lines in it.
        column: The place of its centre, in columns from the left.
        row: The place of its centre, in rows from the top.
        kind: A key of `COLOURS`.
    """

    text: str
    column: float
    row: float
    kind: str = "data"


class Diagram(NamedTuple):
    """A diagram that is being drawn.

    Attributes:
        boxes: The boxes by name.
        arrows: Pairs of names, with a label for the arrow.
        columns: The number of columns.
        rows: The number of rows.
    """

    boxes: dict[str, Box]
    arrows: Sequence[tuple[str, str, str]]
    columns: float
    rows: float


PIPELINE = Diagram(
    {
        "video": Box("video", 0, 0),
        "frames": Box("frames,\ncut at each shot", 1, 0, "host"),
        "flow": Box("optical flow to\nthe next frame", 1, 1, "motion"),
        "detector": Box("two-stream\nMask R-CNN", 2, 0.5, "fused"),
        "detections": Box("moving and\nstationary detections", 3, 0.5),
        "tracker": Box("tracker: link, drop\nwhat rests, join", 4, 0.5, "host"),
        "results": Box("masks, tracks.json,\noverlay, report", 5, 0.5),
    },
    [
        ("video", "frames", ""), ("frames", "flow", ""), ("frames", "detector", ""),
        ("flow", "detector", ""), ("detector", "detections", ""),
        ("detections", "tracker", ""), ("tracker", "results", ""),
    ],
    columns=6, rows=2,
)  # fmt: skip
DETECTOR = Diagram(
    {
        "frame": Box("frame", 0, 0, "appearance"),
        "flow": Box("encoded flow", 0, 2, "motion"),
        "rgb": Box("appearance stream:\nResNet + FPN", 1, 0, "appearance"),
        "of": Box("motion stream:\nResNet + FPN", 1, 2, "motion"),
        "fusion": Box("fusion convolutions,\nshared by all levels", 2, 2, "fused"),
        "rpn": Box("RPN\n-> proposals", 3, 2, "fused"),
        "box": Box("RoIAlign 7x7\n-> box head", 4, 2, "fused"),
        "static": Box("RPN and box head\nof the static branch", 3.5, 0, "appearance"),
        "mask": Box("RoIAlign 14x14\n-> mask head", 4.5, 1, "appearance"),
        "moving": Box("moving objects", 5.5, 2),
        "rest": Box("all objects", 5.5, 0),
    },
    [
        ("frame", "rgb", ""), ("flow", "of", ""), ("rgb", "fusion", ""),
        ("of", "fusion", ""), ("fusion", "rpn", ""), ("rpn", "box", ""),
        ("rgb", "static", ""), ("box", "moving", ""), ("static", "rest", ""),
        ("rgb", "mask", ""), ("mask", "moving", "masks"), ("mask", "rest", "masks"),
    ],
    columns=6.5, rows=3,
)  # fmt: skip
STAGES = Diagram(
    {
        "coco": Box("1. appearance\nCOCO, one class", 0, 0, "appearance"),
        "things": Box("2. motion\nFlyingThings3D flow", 0, 1.5, "motion"),
        "rgb": Box("appearance stream,\nmask head: frozen", 1.5, 0, "frozen"),
        "of": Box("motion stream:\nfrozen", 1.5, 1.5, "frozen"),
        "joint": Box("3. joint\nYTVOS-moving, DAVIS", 3, 0.75, "fused"),
        "trained": Box("trained: fusion,\nRPN, box head", 4.5, 0.75, "fused"),
        "static": Box("static branch: RPN and\nbox head of stage 1", 3, 0, "frozen"),
    },
    [
        ("coco", "rgb", "copied"), ("things", "of", "copied"), ("rgb", "joint", ""),
        ("of", "joint", ""), ("joint", "trained", ""), ("rgb", "static", "copied"),
    ],
    columns=5.5, rows=2.5,
)  # fmt: skip
ENCODING = Diagram(
    {
        "flow": Box("flow (u, v)\nin pixels", 0, 1, "motion"),
        "paper": Box("paper: the same\nthrough 8 bits", 1.5, 0, "motion"),
        "direct": Box("direct: magnitude\nand angle", 1.5, 1, "motion"),
        "relative": Box("relative, residual:\nwithout the camera", 1.5, 2, "motion"),
        "stream": Box("motion stream's\nthree channels", 3, 1),
        "camera": Box("global motion:\nRANSAC homography", 0, 2, "host"),
        "speed": Box("speed of an object\nrelative to the scene", 1.5, 3, "host"),
    },
    [
        ("flow", "paper", ""), ("flow", "direct", ""), ("flow", "camera", ""),
        ("camera", "relative", ""), ("paper", "stream", ""), ("direct", "stream", ""),
        ("relative", "stream", ""),
        ("camera", "speed", ""),
    ],
    columns=4, rows=4,
)  # fmt: skip
TRACKER = Diagram(
    {
        "detections": Box("detections of\neach frame", 0, 0),
        "objects": Box("1. objects: duplicates\nand parts by mask", 1, 0, "host"),
        "forward": Box("2. link forwards,\nmasks follow the flow", 2, 0, "host"),
        "backward": Box("3. link backwards,\nbefore tracks' starts", 3, 0, "host"),
        "moving": Box("4. drop tracks that\nare not seen to move", 3, 1, "host"),
        "join": Box("5. join parts, and\npauses by colour", 2, 1, "host"),
        "tracks": Box("one track\nper thing", 1, 1),
    },
    [
        ("detections", "objects", ""), ("objects", "forward", ""),
        ("forward", "backward", ""), ("backward", "moving", ""), ("moving", "join", ""),
        ("join", "tracks", ""),
    ],
    columns=4, rows=2,
)  # fmt: skip
DIAGRAMS = {
    "pipeline": PIPELINE,
    "detector": DETECTOR,
    "stages": STAGES,
    "encoding": ENCODING,
    "tracker": TRACKER,
}


def draw(diagram: Diagram, file: Path) -> None:
    """Draws a diagram as SVG."""
    columns, rows = diagram.columns * (WIDTH + 0.45), diagram.rows * (HEIGHT + 0.55)
    figure = plt.figure(figsize=(columns, rows))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(rows, 0))
    axes.axis("off")
    centres = {
        name: ((box.column + 0.5) * (WIDTH + 0.45), (box.row + 0.5) * (HEIGHT + 0.55))
        for name, box in diagram.boxes.items()
    }
    patches = {}
    for name, box in diagram.boxes.items():
        x, y = centres[name]
        patch = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=COLOURS[box.kind],
            edgecolor="#444444",
        )
        patches[name] = axes.add_patch(patch)
        axes.text(x, y, box.text, ha="center", va="center", fontsize=9, zorder=3)
    for start, end, label in diagram.arrows:
        axes.annotate(
            "",
            xy=centres[end],
            xytext=centres[start],
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#444444",
                "patchA": patches[start],
                "patchB": patches[end],
                "shrinkA": 0,
                "shrinkB": 0,
            },
            zorder=2,
        )
        if label:
            middle = [
                sum(c) / 2 for c in zip(centres[start], centres[end], strict=True)
            ]
            axes.text(
                *middle, label, fontsize=8, ha="center", va="bottom", color="#444"
            )
    figure.savefig(file, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def main() -> None:
    """Draws all diagrams."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the SVGs")
    out = parser.parse_args().out
    mpl.rcParams.update({"svg.hashsalt": "movseg_jax", "font.family": "DejaVu Sans"})
    for name, diagram in DIAGRAMS.items():
        draw(diagram, out / f"diagram_{name}.svg")


if __name__ == "__main__":
    main()
