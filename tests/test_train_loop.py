"""Whole runs: stopped, killed, gone on with, refused."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from movseg_jax.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    StartConfig,
    TargetConfig,
    TrainConfig,
    TrunkConfig,
)
from movseg_jax.config_json import from_json
from movseg_jax.errors import InputError
from movseg_jax.model.parameters import fresh
from movseg_jax.model.weights import RUN_WEIGHTS, load_weights, save_weights
from movseg_jax.train.checkpoints import Checkpoints
from movseg_jax.train.initialise import read_weights
from movseg_jax.train.log import TIMINGS, read_log
from movseg_jax.train.loop import train
from movseg_jax.train.run_weights import BEST_WEIGHTS, BestWeights, best_params
from movseg_jax.train.step import TrainState
from movseg_jax.train.workdir import claimed
from tests.fakes.memory_bucket import Killed, MemoryBucket
from tests.fakes.memory_source import MemorySource

pytestmark = pytest.mark.usefixtures("compilation_cache")
ROOT = Path(__file__).parents[1]
STEPS = 8
LICENCE = "CC BY-NC 4.0"


def make_config(**train):
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    defaults = {
        "steps": STEPS,
        "log_every": 1,
        "save_every": 3,
        "frozen": ("*/stem_*",),
        "optimizer": OptimizerConfig(learning_rate=0.01, warmup_steps=2, clip_norm=1.0),
    }
    return Config(
        model=ModelConfig(
            appearance=trunk,
            motion=trunk,
            channels=8,
            box_head_width=16,
            short_side=64,
            long_side=96,
            anchor_size=4.0,
            proposals=50,
        ),
        data=DataConfig(
            sources=(SourceConfig("memory"),), batch_size=4, workers=0, max_objects=4
        ),
        train=TrainConfig(
            targets=TargetConfig(
                anchors=32, rois=32, pre_nms=50, proposals=50, anchor_border=1e4
            ),
            **defaults | train,
        ),
    )


class Signalling(MemorySource):
    """Sends this process a signal when it has been read so often."""

    def __init__(self, sizes, reads):
        super().__init__(sizes)
        self._left = reads

    def __getitem__(self, index):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


def make_source():
    return MemorySource([(64, 96)] * 10)


def make_validation():
    return MemorySource([(64, 96)] * 4)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config of a run that starts from weights with a licence."""
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    model = make_config().model
    save_weights(path, fresh(model, 0), model, {"licence": LICENCE})
    return make_config(start=StartConfig(weights=str(path)))


@pytest.fixture(scope="module")
def reference(config, tmp_path_factory, compilation_cache):
    """A run that nothing disturbs."""
    workdir = tmp_path_factory.mktemp("reference")
    steps = []
    outcome = train(
        config,
        workdir,
        [make_source()],
        quiet=True,
        progress=lambda *step: steps.append(step),
    )
    assert outcome.finished
    assert steps == [(step, STEPS) for step in range(1, STEPS + 1)]
    return workdir


def rows(workdir):
    return [
        {name: value for name, value in row.items() if name not in TIMINGS}
        for row in read_log(workdir)
    ]


def assert_equal_runs(a, b):
    assert rows(a) == rows(b)
    assert [row["step"] for row in rows(a)] == list(range(1, STEPS + 1))
    assert (a / RUN_WEIGHTS).read_bytes() == (b / RUN_WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_run_stopped_by_sigterm_goes_on_as_if_it_had_not_been(
    config, reference, tmp_path
):
    stopping = Signalling([(64, 96)] * 10, reads=16)
    outcome = train(config, tmp_path, [stopping], quiet=True)
    assert not outcome.finished
    stopped = rows(tmp_path)[-1]["step"]
    assert 0 < stopped < STEPS
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_good() == stopped
    assert read_weights(str(tmp_path)).card["licence"] == LICENCE
    assert train(config, tmp_path, [make_source()], quiet=True).finished
    assert_equal_runs(tmp_path, reference)


KILLED = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_disable_most_optimizations", True)
from pathlib import Path
from movseg_jax.config import StartConfig
from movseg_jax.train.loop import train
from movseg_jax.train.run_weights import BEST_WEIGHTS, BestWeights, best_params
from tests.test_train_loop import make_config, make_source
workdir, weights = sys.argv[1:]
config = make_config(start=StartConfig(weights=weights))
train(config, Path(workdir), [make_source()], quiet=True)
"""


@pytest.mark.slow
def test_a_killed_run_loses_only_steps_since_its_last_save(config, reference, tmp_path):
    for after in (4, 7):
        weights = config.train.start.weights
        command = [sys.executable, "-c", KILLED, str(tmp_path), weights]
        process = subprocess.Popen(command, cwd=ROOT)
        log = tmp_path / "log.jsonl"
        for _ in range(1200):
            if log.exists() and len(log.read_bytes().splitlines()) >= after:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
    assert train(config, tmp_path, [make_source()], quiet=True).finished
    assert_equal_runs(tmp_path, reference)


@pytest.mark.slow
def test_a_killed_run_in_a_bucket_resumes_as_if_it_had_not_been(
    config, reference, tmp_path, monkeypatch
):
    bucket = MemoryBucket(monkeypatch)

    def run():
        return train(config, "memory://bucket/run", [make_source()], quiet=True)

    bucket.left = 20  # The first checkpoint has nine objects.
    with pytest.raises(Killed):
        run()
    bucket.left = None
    assert run().report == f"memory://bucket/run: finished, {STEPS} steps."
    assert run().report == f"memory://bucket/run: finished already, {STEPS} steps."
    bucket.files.get("/bucket/run", str(tmp_path / "got"), recursive=True)
    bucket.clear()
    assert rows(tmp_path / "got") == rows(reference)
    for name in ("config.json", RUN_WEIGHTS):
        assert (tmp_path / "got" / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.slow
def test_a_finished_run_says_so_and_changes_nothing(config, reference):
    before = (reference / RUN_WEIGHTS).read_bytes()
    outcome = train(config, reference, [make_source()], quiet=True)
    assert outcome.finished and "already" in outcome.report
    assert (reference / RUN_WEIGHTS).read_bytes() == before


@pytest.mark.slow
def test_what_is_frozen_is_as_it_was_at_the_start(config, reference):
    begun, trained = (
        fresh(config.model, config.seed),
        load_weights(reference / RUN_WEIGHTS),
    )
    for stream in ("appearance", "motion"):
        a, b = (p[stream]["resnet"] for p in (begun, trained.params))
        np.testing.assert_array_equal(
            a["stem_conv"]["kernel"], b["stem_conv"]["kernel"]
        )
        other = "stage2_block0"
        assert (a[other]["conv1"]["kernel"] != b[other]["conv1"]["kernel"]).any()
    assert trained.card["trained"]["steps"] == STEPS
    assert trained.card["licence"] == LICENCE


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(tmp_path):
    optimizer = OptimizerConfig(learning_rate=1e20, clip_norm=0.0, warmup_steps=0)
    config = make_config(steps=20, optimizer=optimizer)
    message = r"(?s)loss or gradient of step \d+ is not finite: .*memory\[\d+\]"
    with pytest.raises(InputError, match=message):
        train(config, tmp_path, [make_source()], quiet=True)


@pytest.mark.slow
def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    """The losses of a step are those before its update."""
    optimizer = OptimizerConfig(
        learning_rate=3e38, bias_rate=1e6, clip_norm=1.0, warmup_steps=0
    )
    config = make_config(save_every=1, optimizer=optimizer)
    with pytest.raises(InputError, match="parameters after step 1 are not finite"):
        train(config, tmp_path, [make_source()], quiet=True)
    assert not [*(tmp_path / "checkpoints").glob("[0-9]*")]


def test_another_config_is_refused_and_the_difference_shown(tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    for _ in range(2):
        with claimed(tmp_path, make_config()) as changes:
            assert changes == ()
    message = r'(?s)another config.*-.*"ema_decay": 0.0'
    with (
        pytest.raises(InputError, match=message),
        claimed(tmp_path, make_config(ema_decay=0.9, log_every=7)),
    ):
        pass


def test_settings_that_change_no_step_may_change(tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with claimed(tmp_path, make_config()):
        pass
    changed = make_config(log_every=7, save_every=1)
    data = dataclasses.replace(changed.data, workers=1)
    changed = dataclasses.replace(changed, data=data)
    expected = (
        "data.workers is 1 from here on; it was 0.",
        "train.log_every is 7 from here on; it was 1.",
        "train.save_every is 1 from here on; it was 3.",
    )
    with claimed(tmp_path, changed) as changes:
        assert changes == expected
    assert from_json(Config, (tmp_path / "config.json").read_text()) == changed
    with claimed(tmp_path, changed) as changes:
        assert changes == ()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, compilation_cache):
    """A run that evaluates, and that nothing disturbs."""
    workdir = tmp_path_factory.mktemp("evaluated")
    config = make_config(evaluate_every=3, save_every=100)
    assert train(
        config, workdir, [make_source()], make_validation(), quiet=True
    ).finished
    return config, workdir


@pytest.mark.slow
def test_a_failing_evaluation_loses_no_step(evaluated, tmp_path):
    config, reference = evaluated
    broken = MemorySource([(64, 96)] * 4, damaged={2})
    message = r"While evaluating on data\.validation: memory/2\.png: not a PNG"
    for _ in range(2):  # The second time at once, from the checkpoint.
        with pytest.raises(InputError, match=message):
            train(config, tmp_path, [make_source()], broken, quiet=True)
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            assert checkpoints.latest_good() == 3
    mended = make_validation()
    assert train(config, tmp_path, [make_source()], mended, quiet=True).finished
    assert rows(tmp_path) == rows(reference)
    evaluations = [row["step"] for row in rows(tmp_path) if "kind" in row]
    assert evaluations == [3, 6, STEPS]
    for name in (RUN_WEIGHTS, BEST_WEIGHTS):
        assert (tmp_path / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("reads", [2, 9])  # In the first evaluation and in the last.
def test_an_evaluation_that_is_stopped_is_made_when_the_run_resumes(
    evaluated, tmp_path, reads
):
    config, reference = evaluated
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, evaluate_every=6)
    )
    stopping = Signalling([(64, 96)] * 4, reads=reads)
    assert not train(config, tmp_path, [make_source()], stopping, quiet=True).finished
    before = [row["step"] for row in rows(tmp_path) if "kind" in row]
    validation = make_validation()
    assert train(config, tmp_path, [make_source()], validation, quiet=True).finished
    after = [row["step"] for row in rows(tmp_path) if "kind" in row]
    assert before == after[: len(before)] and after == [6, STEPS]
    weights = (tmp_path / RUN_WEIGHTS).read_bytes()
    assert weights == (reference / RUN_WEIGHTS).read_bytes()


def test_the_weights_of_the_best_evaluation_are_kept(tmp_path):
    config = make_config()
    best = BestWeights(tmp_path, 0)
    params = fresh(config.model, 0)
    for step, score in ((2, 0.5), (4, 0.25), (6, float("nan")), (8, 0.5), (9, 0.1)):
        best.offer(step, params, {"mask_ap50": score, "j": float("nan")}, config, "")
        best = BestWeights(tmp_path, step)  # As a run that resumes.
    card = load_weights(tmp_path / BEST_WEIGHTS).card
    assert card["trained"]["steps"] == 8  # The latest of two that are equally good.
    assert card["evaluation"] == {"mask_ap50": 0.5}
    BestWeights(tmp_path, 7)  # A run that resumes before it.
    assert not [*tmp_path.iterdir()]


def test_a_run_that_cannot_evaluate_says_so_before_its_first_step(tmp_path):
    config = make_config(evaluate_every=2)
    for validation, message in (
        (None, r"evaluate_every is 2, but data\.validation names no data set"),
        (MemorySource([]), "no examples"),
    ):
        with pytest.raises(InputError, match=message):
            train(config, tmp_path, [make_source()], validation, quiet=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_run_that_failed_at_once_may_be_started_with_another_config(tmp_path):
    wrong = make_config(start=StartConfig(weights=str(tmp_path / "missing")))
    with pytest.raises(InputError, match="missing"):
        train(wrong, tmp_path / "run", [make_source()], quiet=True)
    assert train(make_config(), tmp_path / "run", [make_source()], quiet=True).finished


def test_a_config_is_not_changed_while_another_process_trains(tmp_path):
    with claimed(tmp_path, make_config()):
        before = (tmp_path / "config.json").read_bytes()
        with (
            pytest.raises(InputError, match="another process"),
            claimed(tmp_path, make_config(log_every=7)),
        ):
            pass
        assert (tmp_path / "config.json").read_bytes() == before


def test_the_average_is_used_where_there_is_one():
    import optax

    params = {"a": 1, "b": 2}
    state = TrainState(0, params, None, {"a": 10, "b": optax.MaskedNode()})
    assert best_params(state) == {"a": 10, "b": 2}
    assert best_params(state._replace(average=None)) == params
