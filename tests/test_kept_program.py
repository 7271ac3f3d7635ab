"""The traced detector on disk: the same results, and only where it is sure to fit."""

import dataclasses
import pickle
import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.model import detector, kept_program
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.kept_program import detect_function
from movseg_jax.model.parameters import fresh
from movseg_jax.system import atomic
from tests.fakes import narrow_model

pytestmark = pytest.mark.usefixtures("quick_compilation")
MODEL = dataclasses.replace(narrow_model.MODEL, static_branch=True)


@pytest.fixture(scope="module")
def params():
    return {"params": fresh(MODEL, 0)}


@pytest.fixture
def folder(tmp_path):
    """JAX keeps compiled programs in a folder."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture
def traced(monkeypatch):
    """Counts how often the detector is traced."""
    calls = []

    class Counted(Detector):
        def __call__(self, inputs):
            calls.append(inputs)
            return super().__call__(inputs)

    monkeypatch.setattr(detector, "Detector", Counted)
    return calls


def inputs(count=1):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    flow = rng.normal(0, 2, (64, 64, 2)).astype(np.float32)
    return stack([make_inputs(image, flow, MODEL)] * count)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False])
def test_a_kept_program_gives_the_same_without_tracing(folder, traced, params, static):
    model = dataclasses.replace(MODEL, static_branch=static)
    weights = dict(params["params"])
    if not static:
        del weights["static"]
    expected = jax.jit(Detector(model).apply)({"params": weights}, inputs())
    first = detect_function(model)({"params": weights}, inputs())
    assert len(traced) == 1
    again = detect_function(model)({"params": weights}, inputs())
    assert len(traced) == 1  # A new function, as in a new process.
    assert expected.moving.valid.any()
    assert_same(first, expected)
    assert_same(again, expected)


@pytest.mark.slow
def test_each_program_is_of_its_shapes_config_settings_and_code(
    folder, traced, params, monkeypatch
):
    detect = detect_function(MODEL)
    detect(params, inputs())
    detect(params, inputs())
    assert len(traced) == 1
    detect(params, inputs(2))
    assert len(traced) == 2
    other = dataclasses.replace(MODEL, detections=5)
    assert detect_function(other)(params, inputs()).moving.valid.shape == (1, 5)
    assert len(traced) == 3
    with jax.default_matmul_precision("highest"):
        detect_function(MODEL)(params, inputs())
    assert len(traced) == 4
    monkeypatch.setattr(kept_program, "_code", lambda: "another version")
    detect_function(MODEL)(params, inputs())
    assert len(traced) == 5
    assert len([*folder.iterdir()]) == 5


def test_the_code_of_a_program_is_all_that_the_detector_imports():
    """So a change of any of these files makes another program."""
    code = (
        "import sys, movseg_jax.types\n"
        "before = set(sys.modules)\n"
        "import movseg_jax.model.detector\n"
        "print(*(set(sys.modules) - before))"
    )
    run = [sys.executable, "-c", code]
    loaded = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    ours = {name for name in loaded.split() if name.startswith("movseg_jax.")}
    files = {
        path.relative_to(kept_program.PACKAGE.parent).with_suffix("")
        for pattern in kept_program.SOURCES
        for path in kept_program.PACKAGE.glob(pattern)
    }
    known = {".".join(file.parts).removesuffix(".__init__") for file in files}
    assert "movseg_jax.ops.nms" in ours
    # They only have messages and refuse values.
    assert ours - known == {"movseg_jax.errors", "movseg_jax.config_checks"}


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"short", "half", "flipped"])
def test_a_damaged_file_is_made_anew(folder, traced, params, damage):
    expected = detect_function(MODEL)(params, inputs())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"half": whole[: len(whole) // 2], "flipped": flipped}
    file.write_bytes(damaged.get(damage, damage))
    assert_same(detect_function(MODEL)(params, inputs()), expected)
    assert len(traced) == 2
    detect_function(MODEL)(params, inputs())
    assert len(traced) == 2


@pytest.mark.slow
def test_a_full_disk_only_costs_time(folder, traced, params, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "sync", full)
    expected = jax.jit(Detector(MODEL).apply)(params, inputs())
    assert_same(detect_function(MODEL)(params, inputs()), expected)
    assert not [*folder.iterdir()]


@pytest.mark.slow
def test_a_device_whose_programs_cannot_be_exported_only_costs_time(
    folder, params, monkeypatch
):
    def export(function):
        raise NotImplementedError("custom calls without guarantee")

    expected = jax.jit(Detector(MODEL).apply)(params, inputs())
    monkeypatch.setattr(jax.export, "export", export)
    assert_same(detect_function(MODEL)(params, inputs()), expected)
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fusion", "subfolder"),
    [("average", None), ("average", "gs://"), ("movseg_jax.nn.fusion:average", "")],
)
def test_nothing_is_kept_without_a_folder_or_of_a_fusion_of_ones_own(
    folder, params, monkeypatch, fusion, subfolder
):
    written = []
    monkeypatch.setattr(kept_program, "write_file", lambda *file: written.append(file))
    place = None if subfolder is None else f"{subfolder}{folder.parent}"
    jax.config.update("jax_compilation_cache_dir", place)
    detect = detect_function(dataclasses.replace(MODEL, fusion=fusion))
    jax.config.update("jax_compilation_cache_dir", None)  # JAX knows no such bucket.
    assert detect(params, inputs()).moving.valid.any()
    assert not written


@pytest.mark.slow
def test_a_kept_program_needs_no_flax(folder, params, tmp_path):
    code = (
        "import sys, pickle\n"
        "from movseg_jax.model.kept_program import detect_function\n"
        "model, params, inputs = pickle.load(open(sys.argv[1], 'rb'))\n"
        "found = detect_function(model)(params, inputs)\n"
        "print('flax' in sys.modules, bool(found.moving.valid.any()))"
    )
    file = tmp_path / "arguments.pickle"
    file.write_bytes(pickle.dumps((MODEL, params, inputs())))
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def run():
        command = [sys.executable, "-c", code, str(file)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout.split()

    assert run() == ["True", "True"]
    assert run() == ["False", "True"]
