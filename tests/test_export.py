"""Exported detectors, run by JAX alone, against the detector itself."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from movseg_jax import demo
from movseg_jax.cli import app
from movseg_jax.config import ModelConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.global_motion import homography_flow
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import TrainedDetector, load_detector
from movseg_jax.model.parameters import fresh
from movseg_jax.model.stablehlo import export_detector
from movseg_jax.model.weights import load_weights
from tests.fakes import narrow_model

FRAME = (40, 70)
RUN = """
import pathlib, sys
import jax.export, numpy as np
source, arrays, out = sys.argv[1:]
detect = jax.export.deserialize(pathlib.Path(source).read_bytes()).call
outputs = detect(dict(np.load(arrays)))
flat = {f"{a}/{b}": x for a, there in outputs.items() for b, x in there.items()}
np.savez(out, **flat)
assert not [name for name in sys.modules if name.startswith(("movseg", "flax"))]
"""


def prepared(config):
    """The inputs of the first frame of the demo, in which things move."""
    example = demo.scene()[0]
    return stack([make_inputs(example.image, example.flow, config)])


def run_alone(path, inputs, tmp_path):
    """The outputs of an exported detector in a process that imports JAX alone."""
    height, width = inputs.size[0].astype(int)
    arrays = {"image": inputs.image, "motion": inputs.motion}
    cut = {name: array[:, :height, :width] for name, array in arrays.items()}
    np.savez(tmp_path / "inputs.npz", **cut)
    files = [str(tmp_path / name) for name in ("inputs.npz", "outputs.npz")]
    command = [sys.executable, "-c", RUN, str(path), *files]
    subprocess.run(command, check=True, cwd=tmp_path)
    return dict(np.load(tmp_path / "outputs.npz"))


def check_equal(found, outputs, **tolerance):
    expected = {
        f"{branch}/{name}": np.asarray(array)
        for branch, detections in outputs._asdict().items()
        for name, array in detections._asdict().items()
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, err_msg=name, **tolerance)


@pytest.mark.slow
def test_an_exported_detector_needs_jax_alone_and_gives_the_same_arrays(
    quick_compilation, tmp_path, capsys
):
    path = tmp_path / "a" / "detector.stablehlo"
    command = ["export", "--out", str(path), "--frame-size", "256", "448"]
    assert app.main([*command, "--max-side", "128"]) == 0
    detector = load_detector(max_side=128, precision="default")
    assert detector.licence
    assert f"licence: {detector.licence}\n" in capsys.readouterr().out
    inputs = prepared(detector.config)
    outputs = detector(inputs)
    assert outputs.moving.valid.any() and outputs.static.valid.any()
    check_equal(run_alone(path, inputs, tmp_path), outputs, rtol=1e-4, atol=1e-4)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["weights"]["sha256"] == detector.digest
    assert card["licence"] == detector.licence
    assert card["inputs"]["image"]["shape"] == [1, 73, 128, 3]
    assert card["outputs"]["static"]["mask_logits"]["shape"] == [1, 30, 28, 28]
    exported = jax.export.deserialize(path.read_bytes())
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "a.onnx"}, "ends in .stablehlo"),
        ({"frame_size": (0, 9)}, "`frame_size` is 0 9"),
        ({"batch_size": 0}, "`batch_size` is 0"),
        ({"path": "there.stablehlo"}, "exist already"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_work(options, message, tmp_path):
    (tmp_path / "there.json").touch()
    options = {"path": "a.stablehlo", "frame_size": FRAME, **options}
    path = tmp_path / options.pop("path")
    with pytest.raises(InputError, match=message):
        export_detector(TrainedDetector(ModelConfig(), {}, "", ""), path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["there.json"]


def test_the_page_prepares_frames_as_the_package_does():
    page = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(import cv2.*?)```", page, re.DOTALL)
    names = {}
    exec(code, names)
    rng = np.random.default_rng(2)
    frame = rng.integers(0, 256, (*FRAME, 3), np.uint8)
    camera = np.array([[1.02, 0.01, 3], [-0.01, 0.99, -2], [1e-5, 0, 1]])
    flow = homography_flow(camera, FRAME)
    flow[10:25, 20:40] += (5, -4)
    config = ModelConfig(short_side=32, long_side=64, flow_encoding="vectors")
    assert load_weights("bundled").config.flow_encoding == config.flow_encoding
    inputs = make_inputs(frame, flow, config)
    height, width = inputs.size.astype(int)
    arithmetic = config.arithmetic
    shape = [1, int(height), int(width), 3]
    card = {"inputs": {"image": {"shape": shape}}}
    card |= {"mean": [*arithmetic.mean], "std": [*arithmetic.std]}
    found = names["prepare"](frame, flow, card)
    for name, array in found.items():
        expected = getattr(inputs, name)[None, :height, :width]
        assert array.dtype == expected.dtype
        # The page does not refine RANSAC's homography.
        atol = 0.05 if name == "motion" else 1e-5
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "exact"), [("highest", True), ("bfloat16", False), (None, False)]
)
def test_the_precision_of_a_file_is_not_that_of_the_machine(
    precision, exact, tmp_path, quick_compilation
):
    model = narrow_model.MODEL
    params = fresh(model, 0)
    detector = TrainedDetector(model, params, "random", "", "", precision)
    path = tmp_path / "detector.stablehlo"
    export_detector(detector, path, frame_size=(64, 64))
    text = jax.export.deserialize(path.read_bytes()).mlir_module()
    products = [x for x in text.splitlines() if "stablehlo.dot_general" in x]
    assert products and not any("bf16" in product for product in products)
    rounded = [product for product in products if "HIGHEST" not in product]
    assert bool(rounded) is not exact
