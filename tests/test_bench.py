"""`movseg bench`, with a small untrained model."""

import json

import jax
import numpy as np
import pytest

from movseg_jax import bench
from movseg_jax.cli.app import main
from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.images import encode_png
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.model.parameters import parameter_shapes
from tests.fakes.square_detector import make_detector, scene

TRUNK = TrunkConfig(depth=14, width=8, norm="group")
SMALL = ModelConfig(
    appearance=TRUNK, motion=TRUNK, static_branch=True, channels=16, box_head_width=16,
    short_side=32, long_side=64, proposals=20, pre_nms=20, detections=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def detector():
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), parameter_shapes(SMALL)
    )
    return TrainedDetector(SMALL, params, "random", "0" * 64)


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "video"
    folder.mkdir()
    for i, image in enumerate(
        np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3))
    ):
        (folder / f"{i}.png").write_bytes(encode_png(image.astype(np.uint8)))
    return folder


@pytest.mark.slow
def test_parts_and_jobs_are_measured(detector, video):
    said = []
    found = bench.run_bench(
        detector, str(video), frames=4, repeats=1, sides=[64], detections=[],
        say=said.append,
    )  # fmt: skip
    assert found.size == (32, 64)
    assert [job.name for job in found.jobs] == ["64x32, as it is", "64x32"]
    assert said == ["the machine", "each part", *(job.name for job in found.jobs)]
    for measured in (*found.parts, *found.jobs):
        assert measured.processor > 0 and measured.wall > 0
    # No part beats the machine, unless other work came between.
    bounds = [p for p in found.parts if p.least is not None]
    assert sum(part.name.startswith("detector: ") for part in bounds) == 5
    assert sum(p.least or 0 for p in bounds) < sum(p.wall for p in bounds)
    assert set(found.jobs[0].parts) >= {"decode", "flow", "detector", "paste", "track"}
    text = found.to_text()
    assert all(part.name in text for part in found.parts) and "frames/s" in text
    assert json.loads(json.dumps(found.to_json()))["jobs"][1]["name"] == "64x32"


def test_scores_leave_as_many_detections_as_asked_for():
    frames = bench._prepare([*scene(4)], make_detector())
    scores = dict(bench._scores(frames, make_detector(), [1, 2, 100]))
    assert sorted(scores) == [1, 2, 100]
    assert 0 <= scores[100] <= scores[2] <= scores[1] <= 1
    assert bench._with_least_score(0.95).start_score == 0.95


def test_a_single_frame_is_refused(video, capsys):
    for file in sorted(video.iterdir())[1:]:
        file.unlink()
    with pytest.raises(InputError, match="one frame"):
        bench.run_bench(
            make_detector(), str(video), frames=4, repeats=1, sides=[], detections=[]
        )
    assert main(["bench", str(video / "none.mp4")]) == 2
    assert "none.mp4" in capsys.readouterr().err
