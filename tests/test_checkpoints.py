"""Checkpoints under what happens to them: kills, flipped bytes, other people's files.

Run as a program, this module is the process that a test kills.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from numpy.testing import assert_array_equal

from movseg_jax.config import Config
from movseg_jax.config_json import to_json
from movseg_jax.errors import InputError
from movseg_jax.train import manifest, parallel
from movseg_jax.train.checkpoints import (
    Checkpoints,
    CheckpointWarning,
    restore_params,
)
from movseg_jax.train.freezing import split
from movseg_jax.train.initialise import read_weights
from movseg_jax.train.losses import Term
from movseg_jax.train.step import Step, TrainState

ROOT = Path(__file__).parents[1]
MASK = {
    "appearance": {"stem": {"kernel": False, "bias": False}},
    "rpn": {"kernel": True},
}
OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.add_decayed_weights(1e-4),
    optax.sgd(optax.linear_schedule(0.1, 0.0, 10), momentum=0.9),
)


def make_state(seed=0, size=5):
    rng = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {
        "appearance": {"stem": {"kernel": array(size, 3), "bias": array(3)}},
        "rpn": {"kernel": array(3)},
    }
    trained, _ = split(params, MASK)
    step = jnp.asarray(seed, jnp.int32)
    average = jax.tree.map(lambda x: x + 1, trained)
    return TrainState(step, params, OPTIMIZER.init(trained), average)


def assert_same(a, b):
    """Bit for bit, with the same containers."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert_array_equal(np.asarray(x), np.asarray(y))


def write(folder, *steps, keep=9):
    with Checkpoints(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step), {"examples": step * 8})


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    write(folder, 1, 2)
    return folder


@pytest.fixture
def saved(saved_once, tmp_path):
    """Steps 1 and 2."""
    return shutil.copytree(saved_once, tmp_path / "checkpoints")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# There and back ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(how, tmp_path):
    def objective(params, batch, keys):
        hidden = batch @ params["appearance"]["stem"]["kernel"]
        error = hidden @ params["rpn"]["kernel"] + jax.vmap(jax.random.normal)(keys)
        return {"all": Term(jnp.sum(error**2), jnp.float32(error.size))}

    step = parallel.data_parallel(
        Step(objective=objective, optimizer=OPTIMIZER, mask=MASK, ema_decay=0.9),
        how,
    )
    batch = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    key = jax.random.key(0)
    state = jax.tree.map(jnp.copy, make_state())
    state, _ = step(state, batch, key)
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(1, state, {})
        like = make_state()
        # The state is donated, so its buffers are overwritten while it is saved.
        for _ in range(3):
            state, metrics = step(state, batch, key)
        again, _ = checkpoints.restore(1, like)
    assert again.step == 1
    for _ in range(3):
        again, metrics_again = step(again, batch, key)
    assert_same(state, again)
    assert_same(metrics, metrics_again)


def test_a_state_comes_back_bit_for_bit_with_its_containers(tmp_path):
    state = make_state()._replace(average=None)
    bits = np.uint32([0x7FC00001, 0x80000000, 1])  # NaN, -0, a denormal.
    state.params["rpn"]["kernel"] = bits.view(np.float32)
    state.params["half"] = jnp.arange(3).astype(jnp.bfloat16)
    extra = {"loader": {"position": 5}, "loss": [0.1, float("inf")], "name": "ü"}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state, extra)
        again, extra_again = checkpoints.restore(0, state)
    assert_same(state, again)
    assert again.params["rpn"]["kernel"].view(np.uint32).tolist() == bits.tolist()
    assert extra_again == extra


def test_arrays_go_to_any_devices(saved):
    devices = np.array(jax.devices())
    everywhere = NamedSharding(Mesh(devices, "x"), PartitionSpec())
    half = NamedSharding(Mesh(devices[:2], "x"), PartitionSpec())
    last = SingleDeviceSharding(devices[-1])
    for sharding in (everywhere, half, last, None):
        like = jax.tree.map(
            lambda x, s=sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            make_state(),
        )
        state, extra = Checkpoints(saved).restore(2, like)
        assert_same(state, make_state(2))
        assert extra == {"examples": 16}
        kernel = state.params["rpn"]["kernel"]
        assert kernel.sharding == sharding or (
            sharding is None and not kernel.committed
        )
    numpy, _ = Checkpoints(saved).restore(2, jax.tree.map(np.asarray, make_state()))
    assert isinstance(numpy.step, np.ndarray)


def test_saving_returns_before_the_checkpoint_is_there(tmp_path, monkeypatch):
    go_on, write_manifest = threading.Event(), manifest.write

    def write_later(*arguments):
        assert go_on.wait(30)
        write_manifest(*arguments)

    monkeypatch.setattr(manifest, "write", write_later)
    state = make_state(0, size=500_000)
    host = jax.tree.map(np.array, state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, host, {})
        jax.tree.map(lambda x: x.fill(0), host)
        assert names(tmp_path) == [".1.1.unfinished"]
        go_on.set()
        checkpoints.wait()
        assert names(tmp_path) == ["1"]
        assert_same(checkpoints.restore(1, state)[0], state)


def test_another_model_is_refused_by_the_names_of_its_parameters(saved):
    like = make_state(size=7)
    like.params["rpn"]["bias"] = like.params["rpn"].pop("kernel")
    with pytest.raises(InputError) as error:
        Checkpoints(saved).restore(2, like)
    assert (
        "params/appearance/stem/kernel: float32 (5, 3) in the checkpoint, "
        "float32 (7, 3) here; params/rpn/bias: nothing in the checkpoint, "
        "float32 (3,) here; params/rpn/kernel: float32 (3,) in the checkpoint, "
        "nothing here."
    ) in str(error.value)
    like = make_state()._replace(step=jnp.float32(0))
    with pytest.raises(InputError, match=r"step: int32 \(\) in the .*, float32 \(\)"):
        Checkpoints(saved).restore(2, like)


def test_the_hash_of_a_run_s_weights_is_that_of_its_last_manifest(saved):
    """Which a file has, and which has the hashes of all others."""
    (saved.parent / "config.json").write_text(to_json(Config()))
    part = read_weights(str(saved.parent))
    assert_same(part.params, jax.tree.map(np.asarray, make_state(2).params))
    data = (saved / "2" / "manifest.json").read_bytes()
    assert part.sha256 == hashlib.sha256(data).hexdigest()


def test_parameters_are_read_without_a_model(saved):
    expected = jax.tree.map(np.asarray, make_state(2))
    params = restore_params(saved)
    assert_same(params, expected.params)
    assert_same(
        restore_params(saved, 1), jax.tree.map(np.asarray, make_state(1).params)
    )
    averaged = restore_params(saved, average=True)
    assert_array_equal(averaged["rpn"]["kernel"], expected.average["rpn"]["kernel"])
    assert_same(averaged["appearance"], params["appearance"])


def test_what_is_not_there_is_said(tmp_path):
    assert Checkpoints(tmp_path / "none").latest_good() is None
    with pytest.raises(InputError, match="none: has no complete checkpoint"):
        restore_params(tmp_path / "none")
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state()._replace(average=None), {})
        with pytest.raises(InputError, match=r"7: has no manifest\.json"):
            checkpoints.restore(7, make_state())
    with pytest.raises(InputError, match="has no moving average"):
        restore_params(tmp_path, average=True)


# What is kept --------------------------------------------------------------------


def test_the_last_ones_are_kept(tmp_path):
    write(tmp_path, 1, 2, 3, 4, 5, keep=2)
    assert names(tmp_path) == ["4", "5"]
    assert Checkpoints(tmp_path).latest_good() == 5


def test_a_step_that_is_saved_again_is_the_new_one(saved):
    with Checkpoints(saved) as checkpoints:
        checkpoints.save(2, make_state(9), {})
        assert_same(checkpoints.restore(2, make_state())[0], make_state(9))
    assert names(saved) == ["1", "2"]


def test_going_on_before_a_damaged_step_never_deletes_the_only_good_one(saved):
    next((saved / "2").rglob("manifest.ocdbt")).write_bytes(b"")
    with Checkpoints(saved, keep=1) as checkpoints:
        with pytest.warns(CheckpointWarning, match=r"2: damaged: .*skipped"):
            assert checkpoints.latest_good() == 1
        checkpoints.save(1, make_state(1), {})
        checkpoints.wait()
        assert names(saved) == ["1", "2"]
        checkpoints.save(2, make_state(2), {})
        assert checkpoints.latest_good() == 2
    assert names(saved) == ["2"]


# Damage --------------------------------------------------------------------------


def outcome(folder):
    """The step that is taken for the last good one, if its content is right."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoints = Checkpoints(folder)
        step = checkpoints.latest_good()
        if step is not None:
            state, extra = checkpoints.restore(step, make_state())
            assert_same(state, make_state(step))
            assert extra == {"examples": step * 8}
    return step, [str(w.message) for w in caught if w.category is CheckpointWarning]


def test_a_flipped_byte_is_found_wherever_it_is(saved):
    files = [path for path in (saved / "2").rglob("*") if path.is_file()]
    rng, found = random.Random(0), 0
    assert len(files) > 8
    for path in files:
        data = path.read_bytes()
        for at in (
            {0, len(data) // 2, len(data) - 1, *rng.choices(range(len(data)), k=3)}
            if data
            else ()
        ):
            flipped = bytearray(data)
            flipped[at] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                step = Checkpoints(saved).latest_good()
            if step == 2:  # Only another spelling of the same manifest.
                assert path.name == manifest.NAME
                assert_same(
                    Checkpoints(saved).restore(2, make_state())[0], make_state(2)
                )
            else:
                found += 1
                assert step == 1 and len(caught) == 1
                assert path.name in str(caught[0].message)
                with pytest.raises(InputError, match=path.name):
                    Checkpoints(saved).restore(2, make_state())
                with pytest.raises(InputError, match=path.name):
                    restore_params(saved, 2)
        path.write_bytes(data)
    assert found > 3 * 8 and outcome(saved) == (2, [])


def test_a_flipped_bit_of_the_manifest_is_found_or_harmless(saved):
    path = saved / "2" / manifest.NAME
    data, about = path.read_bytes(), manifest.read(saved / "2")
    for at in range(0, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            assert manifest.read(saved / "2") == about
        except InputError as error:
            assert manifest.NAME in str(error)
        if at % 16 == 0:
            path.write_bytes(data[:at])
            with pytest.raises(InputError, match=manifest.NAME):
                manifest.read(saved / "2")


@pytest.mark.parametrize("kind", ["truncate", "grow", "remove", "folder", "fifo"])
def test_a_file_that_is_not_what_it_was_is_named(saved, kind):
    path = max((saved / "2").rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    data = path.read_bytes()
    path.unlink()
    if kind in ("truncate", "grow"):
        path.write_bytes(data[:-1] if kind == "truncate" else data + b"\0")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    step, messages = outcome(saved)
    assert step == 1 and len(messages) == 1
    assert path.name in messages[0] and messages[0].endswith(" It is skipped.")


@pytest.mark.parametrize("name", ["more", "arrays/state/d/0", "arrays/\n", "\udcff"])
def test_a_file_that_was_not_saved_is_named(saved, name):
    (saved / "2" / name).write_bytes(b"")
    step, messages = outcome(saved)
    assert step == 1 and "was not saved with it" in messages[0]
    assert repr(name) in messages[0]


def resign(folder, **changes):
    """A manifest that is consistent and says something else."""
    document = json.loads((folder / manifest.NAME).read_text())
    document["content"] |= changes
    text = json.dumps(document["content"], sort_keys=True)
    document["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / manifest.NAME).write_text(json.dumps(document))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../1/manifest.json": [1, "0"]}},
        {"files": {"/etc/passwd": [1, "0"], "a\0b": [1, "0"]}},
        {"files": {"state": 3}},
        {"files": []},
        {"step": "2"},
        {"step": 10**30},
        {"more": 1},
    ],
    ids=str,
)
def test_evil_manifests_lead_nowhere(saved, changes):
    resign(saved / "2", **changes)
    step, messages = outcome(saved)
    assert step == 1 and len(messages) == 1


def test_a_manifest_of_release_0_1_0_is_read(saved):
    resign(saved / "2", score=0.5)
    assert outcome(saved) == (2, [])


@pytest.mark.parametrize("text", ["", "[]", "[" * 10**5, "{}", '{"content": 1}', "\0"])
def test_what_is_no_manifest_is_not_taken_for_one(saved, text):
    (saved / "2" / manifest.NAME).write_text(text)
    step, messages = outcome(saved)
    assert step == 1 and "manifest.json: damaged" in messages[0]


def test_a_manifest_does_not_fill_the_memory(saved):
    with (saved / "2" / manifest.NAME).open("wb") as file:
        file.truncate(2**40)
    step, messages = outcome(saved)
    assert step == 1 and "MAX_BYTES" in messages[0]


def test_foreign_things_are_named_and_left_alone(saved):
    (saved / "7").mkdir()
    (saved / "8.orbax-checkpoint-tmp").mkdir()
    (saved / "9").write_text("a file")
    (saved / "10").symlink_to("nowhere")
    shutil.copytree(saved / "1", saved / "11")
    for name in ("notes", "-3", "٣", "1e9", "1\n2", "12x", ".hidden"):
        (saved / name).mkdir()
    step, messages = outcome(saved)
    assert step == 2
    assert [m.split(": ")[0].rsplit("/", 1)[1] for m in messages] == [
        *("11", "10", "9", "8.orbax-checkpoint-tmp", "7")
    ]
    before = set(names(saved))
    with Checkpoints(saved, keep=1) as checkpoints:
        with pytest.warns(CheckpointWarning, match="called not-a-checkpoint-7 now"):
            checkpoints.save(7, make_state(7), {})
        with pytest.warns(CheckpointWarning, match="called not-a-checkpoint-9 now"):
            checkpoints.save(9, make_state(9), {})
    aside = {"not-a-checkpoint-7", "not-a-checkpoint-9"}
    assert set(names(saved)) == before - {"1", "2", "7"} | aside
    assert (saved / "not-a-checkpoint-9").read_text() == "a file"


def test_a_save_that_was_killed_is_named_and_cleared_away(saved):
    (saved / "2" / manifest.NAME).unlink()
    (saved / "2").rename(saved / ".2.3.unfinished")
    shutil.copytree(saved / "1", saved / ".3.removed")
    step, messages = outcome(saved)
    assert step == 1 and len(messages) == 1
    assert ".2.3.unfinished: was not written to its end; it is skipped." in messages[0]
    write(saved, 2)
    assert names(saved) == ["1", "2"] and outcome(saved) == (2, [])


# What cannot be written -----------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/run")):
        with Checkpoints(folder) as checkpoints:
            with pytest.raises(InputError, match="1: the checkpoint cannot be written"):
                checkpoints.save(1, make_state(), {})


def run_this(*arguments, **options):
    """This module as a program."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


def save_to_a_full_disk(folder):
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, make_state(3), {"examples": 24})
        checkpoints.wait()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        checkpoints.save(4, make_state(4, size=100_000), {})
        with pytest.raises(InputError, match="4: the checkpoint cannot be written"):
            checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert outcome(folder)[0] == 3
        checkpoints.save(4, make_state(4), {"examples": 32})
    print("done")


def test_a_full_disk_is_an_input_error_and_the_last_checkpoint_stays(saved):
    # In a process of its own: threads that Orbax leaves behind complain for a while.
    with run_this("fill", saved, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate(timeout=60)
    assert output == "done\n", errors
    assert outcome(saved) == (4, [])
    assert [name for name in names(saved) if name[0] != "."] == ["3", "4"]


def test_what_cannot_be_stored_is_said(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(InputError, match="extra: JSON cannot hold it"):
            checkpoints.save(1, make_state(), {"a": b""})
        with pytest.raises(InputError, match="a/b: is an empty array"):
            checkpoints.save(1, {"a": {"b": np.zeros((0, 3))}}, {})
        with pytest.raises(InputError, match="expected 0 or more"):
            checkpoints.save(-1, make_state(), {})
    with pytest.raises(InputError, match="expected at least 1"):
        Checkpoints(tmp_path, keep=0)


# Kills ----------------------------------------------------------------------------


def save_forever(folder):
    with Checkpoints(folder, keep=2) as checkpoints:
        step = checkpoints.latest_good() or 0
        if step:
            state, _ = checkpoints.restore(step, make_state())
            assert_same(state, make_state(step))
        print("start", flush=True)
        while True:
            step += 1
            checkpoints.save(step, make_state(step), {"examples": step * 8})
            checkpoints.wait()
            print(step, flush=True)


def kill_at_random_moments(folder, kills, seed):
    """Returns the last step that was saved."""
    rng = random.Random(seed)
    last = 0
    for i in range(kills):
        process = run_this("save", folder)
        with process.stdout as output:
            acknowledged = [output.readline() for _ in range(1 + i % 3)]
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
            acknowledged += output.readlines()
        assert process.wait() == -signal.SIGKILL and acknowledged[0] == "start\n"
        steps = [int(line) for line in acknowledged[1:] if line.endswith("\n")]
        last = max([last, *steps])
        step, _ = outcome(folder)
        # One more may be complete that could not be acknowledged any more.
        assert (step or 0) in (last, last + 1)
        last = step or 0
    return last


@pytest.mark.slow
def test_a_kill_at_any_moment_costs_nothing_that_was_saved(tmp_path):
    assert kill_at_random_moments(tmp_path, kills=3, seed=0) >= 3


@pytest.mark.slow
def test_many_kills_cost_nothing_that_was_saved(tmp_path):
    assert kill_at_random_moments(tmp_path, kills=12, seed=1) >= 12


# Several processes ----------------------------------------------------------------


def take_part(folder, port, index):
    parallel.start_hosts(f"127.0.0.1:{port}", 2, index)
    state = parallel.replicate(make_state(2))
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            state = parallel.replicate(make_state(step))
            checkpoints.save(step, state, {"examples": step * 8})
        assert checkpoints.latest_good() == 2
        again, _ = checkpoints.restore(2, state)
        assert_same(again, make_state(2))
        assert again.step.sharding == state.step.sharding
        assert_same(restore_params(folder), make_state(2).params)
        parallel.barrier("before the damage")
        if index == 0:
            (folder / "2" / "more").write_text("")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert checkpoints.latest_good() == 1
        try:
            checkpoints.restore(2, state)
        except InputError:
            print("refused", flush=True)


@pytest.mark.slow
@pytest.mark.alone
def test_several_processes_save_and_restore_together(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        run_this("join", tmp_path / "run", port, index, stderr=subprocess.PIPE)
        for index in range(2)
    ]
    try:
        results = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for output, errors in results:
        assert output.endswith("refused\n"), errors
    assert names(tmp_path / "run") == ["1", "2"]


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    actions = {"save": save_forever, "fill": save_to_a_full_disk, "join": take_part}
    actions[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))
