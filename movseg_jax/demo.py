"""`movseg demo`: renders a video, segments and scores it, with nothing to download."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from movseg_jax.data.datasets.synthetic import SyntheticSource
from movseg_jax.images import encode_ids, encode_png, read_ids
from movseg_jax.metrics.davis import boundary_accuracy, region_similarity
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.progress import progress_bar

SCENE = SceneConfig(
    size=(256, 448), frames=24, movers=(3, 3), nothing_moves=0.0, pauses=0.0
)
SEED = 0
FRAMES, TRUTH, RESULT = "frames", "truth", "result"


class Ended(NamedTuple):
    """Outcome of a demonstration.

    Attributes:
        finished: False if it was stopped; it can be started again.
        report: The result in a few lines.
    """

    finished: bool
    report: str


class Scores(NamedTuple):
    """The accuracy of the foreground: all that moves, as one region.

    Attributes:
        region: J, averaged over frames.
        boundary: F, averaged over frames.
    """

    region: float
    boundary: float


def run(
    out: Path,
    detector: TrainedDetector,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Ended:
    """Renders a video, segments it and compares the result with the truth.

    Args:
        out: The folder for `frames/`, `truth/` and `result/`; the last one has the
            files of `movseg segment`.
        detector: The detector, from `load_detector`.
        overwrite: Whether to replace an earlier result.
        quiet: Whether to show no progress.

    Raises:
        InputError: The folder cannot be written to.
    """
    render(out)
    with progress_bar("frame", quiet=quiet) as show:
        summary = segment_to_folder(
            str(out / FRAMES),
            out / RESULT,
            detector,
            SegmentConfig(why=True),
            overwrite=overwrite,
            progress=show,
        )
    if not summary.finished:
        return Ended(
            False, f"{out}: stopped at frame {summary.frames}; start it again."
        )
    scores = score(out / RESULT / "masks", out / TRUTH)
    height, width = SCENE.size
    speed = ""
    if "total" in summary.timing:
        seconds = summary.timing["total"] - summary.timing.get("compile", 0.0)
        speed = (
            f", {summary.frames / seconds:.1f} frames per second, not counting "
            f"{summary.timing.get('compile', 0.0):.1f} s of compiling"
        )
    report = (
        f"Rendered {SCENE.frames} frames of {width}x{height} pixels with moving and "
        f"stationary things, and segmented them with the weights {detector.name!r}: "
        f"{summary.tracks} tracks{speed}.\n"
        f"Against the truth of what moves: J {scores.region:.3f}, F "
        f"{scores.boundary:.3f}.\n"
        f"Look at {out / RESULT / 'report.html'} and {out / RESULT / 'overlay.mp4'}."
    )
    return Ended(True, report)


def scene() -> SyntheticSource:
    """Returns the rendered video, whose frames are made when they are asked for."""
    return SyntheticSource(SCENE, clips=1, seed=SEED)


def render(out: Path) -> None:
    """Writes the frames of the scene, and masks of what moves in each.

    Raises:
        InputError: The folder cannot be written to.
    """
    source = scene()
    for name in (FRAMES, TRUTH):
        make_folder(out / name)
    for index in range(len(source)):
        file = out / FRAMES / f"{index:05d}.png"
        example = source[index]
        ids = np.zeros(SCENE.size, np.uint8)
        for id, mask, moving in zip(
            example.ids, example.masks, example.moving, strict=True
        ):
            ids[mask] = id if moving else 0
        write_file(out / TRUTH / file.name, encode_ids(ids))
        data = encode_png(example.image)
        # An unchanged file is not written again: a run that was stopped recognises its
        # frames by their modification times.
        if not file.is_file() or file.read_bytes() != data:
            write_file(file, data)


def score(found: Path, truth: Path) -> Scores:
    """Compares two folders of index PNGs, except the last frame, which has no flow.

    Args:
        found: The folder of the result.
        truth: The folder of the truth.

    Raises:
        InputError: A file is missing, or cannot be read.
    """
    scores = []
    for file in sorted(truth.glob("*.png"))[:-1]:
        pair = (read_ids(found / file.name) > 0, read_ids(file) > 0)
        scores.append((region_similarity(*pair), boundary_accuracy(*pair)))
    return Scores(*np.mean(scores, axis=0).tolist())
