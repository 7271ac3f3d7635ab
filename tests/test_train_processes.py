"""Runs of two processes on one machine: the same as one, whole when stopped or broken.

Run as a program, this module is one of the processes.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from movseg_jax.config import SourceConfig
from movseg_jax.model.weights import RUN_WEIGHTS
from movseg_jax.scenes.clips import write_clips
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.system.stopping import STOPPED
from movseg_jax.train import parallel
from movseg_jax.train.checkpoints import Checkpoints, restore_params
from movseg_jax.train.log import read_log
from movseg_jax.train.loop import train
from tests.fakes.memory_source import MemorySource
from tests.test_train_loop import (
    STEPS,
    Signalling,
    make_config,
    make_source,
    rows,
)

# With a cache, from which JAX lets the first process alone have its programs: then it
# waits for the other, for more than the 30 seconds after which a step on CPUs gives up.
cached = pytest.mark.usefixtures("compilation_cache")
pytestmark = [pytest.mark.slow, pytest.mark.alone, cached]
ROOT = Path(__file__).parents[1]
LIMIT = 300  # Seconds after which two processes are taken to hang.
SIZES = [(64, 96)] * 10
# Gradients of four devices are added up in another order by two processes than by one:
# float32 rounding of about 1e-7 a step, which grows from step to step.
LOSSES, GRADIENTS, PARAMETERS = 1e-4, 1e-3, 1e-5  # Relative differences.


# What the processes do -----------------------------------------------------------


def processes_config(**settings):
    """Evaluates at steps at which no checkpoint is due otherwise."""
    config = make_config(evaluate_every=2, save_every=5, **settings)
    data = dataclasses.replace(config.data, validation=SourceConfig("memory"))
    return dataclasses.replace(config, data=data)


def make_validation():
    return MemorySource(SIZES[:2])


def what_to_train(action, index):
    """Config and training data of a process."""
    config, source = processes_config(), make_source()
    if action == "stop" and index == 1:
        source = Signalling(SIZES, reads=8)  # It reads two images a step.
    elif action == f"damaged data in {index}":
        source = MemorySource(SIZES, damaged=range(10))
    elif action == f"killed {index}":
        source = MemorySource(SIZES, disaster="kill", at=3)
    elif action == "other data":
        source = MemorySource(SIZES[index:])
    elif action == "other steps":
        config = processes_config(steps=STEPS + index)
    elif action == "pmap":
        config = processes_config(parallel="pmap")
    return config, source


def take_part(action, workdir, port, index):
    """One process of a run."""
    signal.alarm(LIMIT)  # Ends this process even if the test is gone.
    parallel.start_hosts(f"127.0.0.1:{port}", 2, index)
    assert jax.process_count() == 2 and jax.device_count() == 4
    config, source = what_to_train(action, index)
    with parallel.ending_together():
        outcome = train(config, workdir, [source], make_validation(), quiet=True)
    print(outcome.report, flush=True)
    sys.exit(0 if outcome.finished else STOPPED)


# How the tests run them ----------------------------------------------------------


@contextlib.contextmanager
def two_processes(commands, logs, environment):
    """Both of them, started; killed at the end, with their children."""
    processes = []
    try:
        for command, log in zip(commands, logs, strict=True):
            with log.open("w") as file:
                process = subprocess.Popen(
                    [sys.executable, *map(str, command)],
                    cwd=ROOT,
                    env=os.environ | environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_commands(commands, folder, environment, statuses, meanwhile=None):
    """What both processes print; fails if they take too long.

    Args:
        statuses: What each has to exit with; None is any error.
        meanwhile: Called with the processes when they were started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"process{index}.txt" for index in range(2)]
    deadline = time.monotonic() + LIMIT
    with two_processes(commands, logs, environment) as processes:
        if meanwhile is not None:
            meanwhile(processes)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
        ends = [process.poll() for process in processes]
    texts = [log.read_text() for log in logs]
    for end, status in zip(ends, statuses, strict=True):
        if end is None or (end != status if status is not None else end == 0):
            pytest.fail(f"Status {ends} for {statuses}.\n" + "\n\n".join(texts))
    return texts


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_two(action, workdir, statuses=(0, 0)):
    """`run_commands` of this module."""
    port = free_port()
    commands = [
        ["-m", "tests.test_train_processes", action, workdir, port, index]
        for index in range(2)
    ]
    folder = workdir.with_name(f"{workdir.name} {action}")
    return run_commands(commands, folder, settings(devices=2), statuses)


def settings(devices):
    """Variables with which JAX runs as in this process, but for the devices."""
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }


@pytest.fixture(scope="module")
def one(tmp_path_factory, compilation_cache):
    """The run of one process with four devices."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    assert train_here(workdir).finished
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory, compilation_cache):
    """The run of two processes with two devices each."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    texts = run_two("train", workdir)
    assert all(f"finished, {STEPS} steps" in text for text in texts)
    return workdir


def train_here(workdir):
    sources = [make_source()]
    return train(processes_config(), workdir, sources, make_validation(), quiet=True)


def all_parameters(workdir):
    leaves = jax.tree.leaves(restore_params(workdir / "checkpoints"))
    return np.concatenate([leaf.ravel() for leaf in leaves])


def assert_close_runs(a, b):
    """Every logged value of every step, and the parameters in the end.

    Not the evaluations' values: they jump where a score crosses another. Gradients may
    jump, too, where rounding decides between two sides of a kink, such as a ReLU's. The
    losses and the parameters do not, so they show whether it is more than that.
    """
    for x, y in zip(rows(a), rows(b), strict=True):
        if "kind" in x:
            assert (x["step"], x["kind"]) == (y["step"], y["kind"])
            continue
        assert x.keys() == y.keys() and x["step"] == y["step"]
        for name in x:
            most = GRADIENTS if name == "gradient_norm" else LOSSES
            assert abs(x[name] - y[name]) < most * max(abs(x[name]), 1e-2), (x, y)
    p, q = all_parameters(a), all_parameters(b)
    assert np.linalg.norm(p - q) < PARAMETERS * np.linalg.norm(p)


def trained_steps(workdir):
    return [row["step"] for row in read_log(workdir) if "kind" not in row]


def without_last_checkpoint(workdir, folder):
    shutil.copytree(workdir, folder)
    shutil.rmtree(folder / "checkpoints" / str(STEPS))
    return folder


# Two as one ----------------------------------------------------------------------


def test_two_processes_do_what_one_does(one, two):
    assert_close_runs(one, two)


def test_the_first_process_alone_writes(two):
    assert trained_steps(two) == list(range(1, STEPS + 1))
    names = {path.name for path in two.iterdir()} - {"pictures", ".lock"}
    weights = {RUN_WEIGHTS, Path(RUN_WEIGHTS).with_suffix(".json").name}
    assert names == {"config.json", "log.jsonl", "checkpoints"} | weights


def test_one_process_goes_on_with_what_two_saved(two, tmp_path):
    workdir = without_last_checkpoint(two, tmp_path / "run")
    outcome = train_here(workdir)
    assert outcome.finished and "already" not in outcome.report
    assert_close_runs(two, workdir)


def test_two_processes_go_on_with_what_one_saved(one, tmp_path):
    workdir = without_last_checkpoint(one, tmp_path / "run")
    texts = run_two("train", workdir)
    assert all("finished, " in text for text in texts)
    assert_close_runs(one, workdir)


def test_evaluations_are_saved_by_both_processes(two):
    evaluated = [row["step"] for row in read_log(two) if "kind" in row]
    assert evaluated == [2, 4, 6, 8]
    saved = {int(path.name) for path in (two / "checkpoints").iterdir()}
    assert {6, 8} <= saved <= {2, 4, 6, 8}


# Stopped and broken --------------------------------------------------------------


def test_a_signal_to_one_process_stops_both_and_they_go_on(two, tmp_path):
    workdir = tmp_path / "run"
    texts = run_two("stop", workdir, statuses=[STOPPED, STOPPED])
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        stopped = checkpoints.latest_good()
    assert stopped is not None and 0 < stopped < STEPS
    assert trained_steps(workdir) == list(range(1, stopped + 1))
    assert all(f"stopped at step {stopped};" in text for text in texts)
    run_two("train", workdir)
    assert rows(workdir) == rows(two)
    assert (workdir / RUN_WEIGHTS).read_bytes() == (two / RUN_WEIGHTS).read_bytes()


def test_an_error_in_one_process_ends_both(tmp_path):
    # What the other one says, and its status, depends on when it finds this one gone.
    texts = run_two("damaged data in 1", tmp_path / "run", statuses=[None, 2])
    assert "not a PNG" in texts[1]


def test_the_death_of_one_process_ends_both(tmp_path):
    killed = -signal.SIGKILL
    run_two("killed 0", tmp_path / "run", statuses=[killed, None])


# What differs between processes --------------------------------------------------


@pytest.mark.parametrize("what", ["data", "steps"])
def test_processes_that_were_given_different_things_refuse(what, tmp_path):
    texts = run_two(f"other {what}", tmp_path / "run", statuses=[2, 2])
    name = {"data": "data", "steps": "config"}[what]
    assert all(f"have not the same {name}" in text for text in texts)


def test_what_several_processes_cannot_do_is_said(tmp_path):
    texts = run_two("pmap", tmp_path / "run", statuses=[2, 2])
    assert all("use 'shard_map' or 'auto'" in text for text in texts)


# The command line ----------------------------------------------------------------


def test_the_command_line_trains_stops_and_goes_on_with_two_processes(tmp_path):
    scene = SceneConfig(frames=3, size=(64, 96))
    write_clips(tmp_path / "rendered", 3, 0, scene)
    workdir = tmp_path / "run"
    small = "--model.channels 8 --model.box-head-width 16 --model.short-side 64 "
    small += "--model.long-side 96 --train.steps 40 --train.log-every 1 "
    small += "--train.evaluate-every 0 --data.workers 1 "
    small += "--train.frozen appearance/* motion/*"  # Compiles in half the time.

    def run(statuses, meanwhile=None, *more):
        port = free_port()
        arguments = ["train", "configs/tiny.py", *small.split(), *more, "--quiet"]
        arguments += ["--workdir", workdir, "--data-dir", tmp_path, "--processes", 2]
        arguments += ["--coordinator", f"127.0.0.1:{port}", "--process"]
        code = "import sys; from movseg_jax.cli.app import main; sys.exit(main())"
        commands = [["-c", code, *arguments, index] for index in range(2)]
        folder = tmp_path / "texts"
        return run_commands(commands, folder, settings(1), statuses, meanwhile)

    def stop(processes):
        log = workdir / "log.jsonl"
        for _ in range(LIMIT * 50):
            if log.exists() and log.read_bytes():
                break
            time.sleep(0.02)
        processes[1].terminate()

    texts = run([STOPPED, STOPPED], stop)
    stopped = [re.search(r"stopped at step \d+; start it again", t) for t in texts]
    assert stopped[0] and stopped[1] and stopped[0][0] == stopped[1][0]
    texts = run([2, None], None, "--seed", "7")
    assert "holds a run with another config" in texts[0]
    texts = run([0, 0])
    assert all("finished, 40 steps" in text for text in texts)
    assert trained_steps(workdir) == list(range(1, 41))
    assert (workdir / RUN_WEIGHTS).exists()


if __name__ == "__main__":
    take_part(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
