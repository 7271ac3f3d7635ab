import collections
import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax.config import AugmentConfig, DataConfig, ModelConfig, SourceConfig
from movseg_jax.data import sampling
from movseg_jax.data.loader import Loader, evaluation_batches
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import encode_flow, resize_flow
from movseg_jax.model.inputs import preprocess, resized_size
from tests.fakes.memory_source import MemorySource, random_example

ROOT = Path(__file__).parents[1]
MODEL = ModelConfig(short_side=32, long_side=64)
APPEARANCE = dataclasses.replace(MODEL, motion=None)
WIDE, TALL = (32, 64), (64, 32)
ALL = AugmentConfig(
    flip=0.5, paste=0.5, scale=(0.7, 1.5),
    brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1,
)  # fmt: skip


def configure(count=1, **changes):
    names = (SourceConfig(str(i), weight=i + 1.0) for i in range(count))
    defaults = {"sources": tuple(names), "batch_size": 4, "workers": 0}
    return DataConfig(**{**defaults, "max_objects": 3, **changes})


def make_sources():
    return [
        MemorySource([WIDE] * 5 + [TALL] * 3 + [(40, 40)] * 2, name="a"),
        MemorySource([TALL] * 4 + [(20, 40)] * 3, name="b"),
    ]


def take(loader, n):
    with loader:
        return [next(loader) for _ in range(n)]


def flatten(batch):
    return [batch.inputs.image, batch.inputs.motion, *batch.inputs[2:], *batch.objects]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for a, b in zip(batches, expected, strict=True):
        for x, y in zip(flatten(a), flatten(b), strict=True):
            assert type(x) is type(y) is np.ndarray and x.dtype == y.dtype
            assert_array_equal(x, y)


# The order -----------------------------------------------------------------------


def steps(sources, config, n, seed=0, model=MODEL):
    made = sampling.training_order(sources, config, model, seed)
    return [made[i] for i in range(n)]


@pytest.mark.parametrize("length, batch_size", [(7, 1), (12, 4), (10, 3), (3, 8)])
def test_every_epoch_is_another_permutation(length, batch_size):
    config = configure(batch_size=batch_size)
    made = steps([MemorySource([WIDE] * length)], config, 6 * length)
    numbers = np.concatenate([step.rows[:, 1] for step in made])
    epochs = numbers[: len(numbers) // length * length].reshape(-1, length)
    assert_array_equal(np.sort(epochs), np.broadcast_to(range(length), epochs.shape))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_the_order_depends_on_the_seed_and_nothing_else():
    config = configure(2)
    first, again, other = (
        [step.rows.tolist() for step in steps(make_sources(), config, 20, seed)]
        for seed in (5, 5, 6)
    )
    assert first == again != other


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.floats(0.1, 10), min_size=3, max_size=3),
    st.integers(1, 9),
    st.integers(0, 2**40),
)
@settings(max_examples=50)
def test_buckets_never_mix_and_shares_are_those_of_the_weights(
    sizes, weights, batch_size, seed
):
    sources = [MemorySource(s, name=str(i)) for i, s in enumerate(sizes)]
    configs = tuple(
        SourceConfig(str(i), weight=weights[i]) for i in range(len(sources))
    )
    config = configure(sources=configs, batch_size=batch_size)
    made = steps(sources, config, 120, seed)
    buckets = sampling.get_buckets(config, MODEL)
    chosen = [sampling.choose_buckets(s, buckets, MODEL) for s in sources]
    counts = collections.Counter()
    for number, step in enumerate(made):
        assert step.number == number and step.rows.shape == (batch_size, 2)
        for k, i in step.rows.tolist():
            assert buckets[chosen[k][i]] == step.bucket
            counts[k] += 1
    total = sum(weights[: len(sources)])
    for k in range(len(sources)):
        expected = weights[k] / total * 120 * batch_size
        # Buckets take turns in whole batches, streams in examples; and 1 %.
        slack = len(buckets) * (batch_size + 1) + 0.02 * 120 * batch_size
        assert abs(counts[k] - expected) < slack


def test_sources_are_mixed_by_weight_whatever_their_sizes():
    sources = [MemorySource([WIDE] * n, name=str(n)) for n in (3, 50, 1000)]
    made = steps(sources, configure(3, batch_size=6), 100)
    counts = np.bincount(np.concatenate([step.rows[:, 0] for step in made]))
    assert_array_equal(counts, [100, 200, 300])


def test_the_default_buckets_hold_every_frame_without_waste():
    model = ModelConfig()
    buckets = sampling.get_buckets(DataConfig(), model)
    assert set(buckets) == {(800, 1088), (1088, 800), (800, 1344), (1344, 800)}
    sizes = [(480, 854), (640, 480), (1, 1000), (500, 500), (3000, 2999)]
    chosen = sampling.choose_buckets(MemorySource(sizes), buckets, model)
    expected = [(800, 1344), (1088, 800), (800, 1344), (800, 1088), (800, 1088)]
    assert [sorted(buckets[i]) for i in chosen] == [sorted(b) for b in expected]
    assert sampling.get_buckets(configure(buckets=((64, 96),)), model) == ((64, 96),)
    small = ModelConfig(short_side=100, long_side=100)
    assert sampling.get_buckets(DataConfig(), small) == ((128, 128),)


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_default_buckets_hold_any_frame(size):
    for model in (ModelConfig(), MODEL, ModelConfig(convention="detectron")):
        buckets = sampling.get_buckets(DataConfig(), model)
        (chosen,) = sampling.choose_buckets(MemorySource([size]), buckets, model)
        resized, _ = resized_size(size, model)
        assert np.all(np.array(resized) <= buckets[chosen])


def test_a_frame_that_fits_into_no_bucket_is_refused_at_the_start():
    config = configure(buckets=((32, 32), (64, 32)))
    with pytest.raises(InputError) as error:
        Loader([MemorySource([(40, 80)])], config, MODEL, seed=0)
    assert "frames of 80x40 pixels become 64x32" in str(error.value)
    assert "no bucket of 32x32, 32x64 (DataConfig.buckets)" in str(error.value)


# Batches -------------------------------------------------------------------------


def test_batches_are_stacked_examples_of_their_bucket():
    sources, config = make_sources(), configure(2, augment=AugmentConfig(flip=0.0))
    made = steps(sources, config, 8)
    buckets = set()
    batches = take(Loader(sources, config, MODEL, seed=0), 8)
    for step, batch in zip(made, batches, strict=True):
        buckets.add(step.bucket)
        assert batch.inputs.image.shape == (4, *step.bucket, 3)
        assert batch.inputs.motion.shape == (4, *step.bucket, 3)
        assert batch.objects.masks.shape == (4, 3, 112, 112)
        for row, (k, i) in enumerate(step.rows.tolist()):
            example = sources[k][i]
            if example.image.shape[:2] not in (WIDE, TALL):
                continue  # It is resized.
            assert_array_equal(batch.inputs.motion[row], encode_flow(example.flow))
            resting = example.ignore | ~example.moving
            left = example.masks.any(axis=(1, 2)) & ~resting
            assert batch.objects.valid[row].sum() == left.sum()
            there = example.masks[resting].any()
            assert batch.objects.ignored[row].any() == there
    assert buckets == {WIDE, TALL}


def test_resting_objects_are_kept_if_the_source_s_config_says_so():
    kept = SourceConfig("a", ignore_resting=False)
    source = MemorySource([WIDE] * 12)
    with Loader([source], configure(sources=(kept,)), MODEL, seed=0) as loader:
        batches = [next(loader) for _ in range(6)]
    with Loader([source], configure(), MODEL, seed=0) as loader:
        changed = [next(loader) for _ in range(6)]
    assert sum(b.objects.valid.sum() for b in batches) > sum(
        b.objects.valid.sum() for b in changed
    )


def test_resuming_at_any_step_goes_on_as_if_nothing_had_happened():
    config = configure(2, augment=ALL)
    expected = take(Loader(make_sources(), config, MODEL, seed=7), 9)
    for step in range(9):
        stopped = Loader(make_sources(), config, MODEL, seed=7)
        take(stopped, step)
        state = json.loads(json.dumps(stopped.get_state()))
        resumed = Loader(make_sources(), config, MODEL, seed=7)
        resumed.set_state(state)
        assert resumed.step == step
        assert_same(take(resumed, 9 - step), expected[step:])
    started = Loader(make_sources(), config, MODEL, seed=7, start_step=4)
    assert_same(take(started, 5), expected[4:])
    # A closed loader goes on where it was; going back works, too.
    assert_same(take(resumed, 0), [])
    resumed.set_state({**state, "step": 2})
    assert_same(take(resumed, 3), expected[2:5])


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_together_have_the_batches_of_one_host(count):
    config = configure(2, augment=ALL)
    whole = take(Loader(make_sources(), config, MODEL, seed=1), 6)
    hosts = [
        take(
            Loader(
                make_sources(), config, MODEL, seed=1, host_index=i, host_count=count
            ),
            6,
        )
        for i in range(count)
    ]
    for step, batch in enumerate(whole):
        parts = [flatten(host[step]) for host in hosts]
        assert len({part[0].shape for part in parts}) == 1
        for part, array in zip(zip(*parts, strict=True), flatten(batch), strict=True):
            assert_array_equal(np.concatenate(part), array)


def test_a_state_fits_hosts_and_workers_of_any_number_but_no_other_data():
    sources, config = make_sources(), configure(2)
    state = Loader(sources, config, MODEL, seed=0, host_count=4).get_state()
    same = dataclasses.replace(config, workers=5, prefetch=3, max_damaged=0)
    Loader(sources, same, MODEL, seed=0).set_state(state)
    changed = [
        (sources, config, MODEL, 1),
        (sources[::-1], config, MODEL, 0),
        (sources, dataclasses.replace(config, batch_size=8), MODEL, 0),
        (sources, dataclasses.replace(config, augment=ALL), MODEL, 0),
        (sources, config, APPEARANCE, 0),
        (sources, config, dataclasses.replace(MODEL, flow_encoding="paper"), 0),
        ([sources[0], MemorySource([TALL] * 8, name="b")], config, MODEL, 0),
    ]
    for *arguments, seed in changed:
        with pytest.raises(InputError, match="of another order of examples"):
            Loader(*arguments, seed=seed).set_state(state)
    for wrong in ({}, {"step": "1", "order": ""}, {**state, "step": -1}):
        with pytest.raises(InputError, match=r"expected what `Loader\.get_state`"):
            Loader(sources, config, MODEL, seed=0).set_state(wrong)


def test_augmentations_differ_between_epochs_and_rows():
    config = configure(augment=AugmentConfig(flip=0.0, brightness=0.9))
    batches = take(Loader([MemorySource([WIDE])], config, MODEL, seed=0), 5)
    brightness = [image.mean() for batch in batches for image in batch.inputs.image]
    assert len(set(brightness)) == 20


# What is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    "sources, options, message",
    [
        ([], {}, r"got 0 sources, but the config has 1 \(0; DataConfig.sources\)"),
        ([MemorySource([])], {}, "memory: the source has no examples"),
        (
            [MemorySource([WIDE] * 3, flow=False)],
            {},
            r"memory: 3 of 3 examples have no flow, .* number 0; .*with_flow\(source\)",
        ),
        ([MemorySource([WIDE])], {"host_count": 3}, "4 images .* over 3 hosts"),
        ([MemorySource([WIDE])], {"host_index": 1}, "got host 1 of 1"),
        ([MemorySource([WIDE])], {"seed": -1}, "seed -1"),
        ([MemorySource([WIDE])], {"start_step": -1}, "step -1"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(sources, options, message):
    with pytest.raises(InputError, match=message):
        Loader(sources, configure(), MODEL, **{"seed": 0, **options})


def test_classes_that_the_model_lacks_are_refused_at_the_start():
    model = dataclasses.replace(MODEL, classes=2)
    with pytest.raises(InputError, match="there are 3 classes, but the model has 2"):
        Loader([MemorySource([WIDE])], configure(), model, seed=0)


def test_a_model_without_motion_stream_needs_no_flow():
    source = MemorySource([WIDE] * 3, flow=False)
    (batch,) = take(Loader([source], configure(), APPEARANCE, seed=0), 1)
    assert batch.inputs.motion is None


# Damaged examples ------------------------------------------------------------------


def test_a_damaged_example_is_an_error_at_its_step_that_names_it():
    source = MemorySource([WIDE] * 12, damaged=[5])
    made = steps([source], configure(), 3)
    at = next(i for i, step in enumerate(made) if 5 in step.rows[:, 1])
    loader = Loader([source], configure(), MODEL, seed=0)
    for _ in range(at):
        next(loader)
    for _ in range(2):  # It does not go away.
        with pytest.raises(InputError, match=r"memory/5\.png: not a PNG"):
            next(loader)
        assert loader.step == at
    source.damaged.clear()
    assert next(loader).inputs.image.shape[0] == 4


def test_damaged_examples_are_replaced_always_by_the_same():
    config = configure(2, augment=ALL, on_damaged="skip")
    sources = make_sources()
    whole = take(Loader(make_sources(), config, MODEL, seed=0), 12)
    sources[0].damaged = {1, 6, 9}
    loader = Loader(sources, config, MODEL, seed=0)
    first = take(loader, 12)
    assert sorted(loader.damaged) == [f"a/{i}.png: not a PNG." for i in (1, 6, 9)]
    assert_same(take(Loader(sources, config, MODEL, seed=0), 12), first)
    resumed = Loader(sources, config, MODEL, seed=0, start_step=5)
    assert_same(take(resumed, 7), first[5:])
    # All else is as it was.
    same = rows = 0
    for a, b in zip(first, whole, strict=True):
        assert a.inputs.image.shape == b.inputs.image.shape
        same += (a.inputs.image == b.inputs.image).all(axis=(1, 2, 3)).sum()
        rows += 4
    assert 0.5 * rows < same < rows


def test_too_many_damaged_examples_are_an_error():
    source = MemorySource([WIDE] * 12, damaged=[1, 2, 3, 4])
    config = configure(on_damaged="skip", max_damaged=3)
    loader = Loader([source], config, MODEL, seed=0)
    with pytest.raises(InputError) as error:
        take(loader, 3)
    assert "more than the 3 that may be skipped (DataConfig.max_damaged)" in str(
        error.value
    )
    assert all(f"memory/{i}.png: not a PNG" in str(error.value) for i in (1, 2, 3, 4))


def test_a_source_of_damaged_examples_only_is_an_error():
    config = configure(on_damaged="skip", max_damaged=99)
    source = MemorySource([WIDE] * 5, damaged=range(5))
    with pytest.raises(InputError, match="not a PNG"):
        take(Loader([source], config, MODEL, seed=0), 1)


class Announced(MemorySource):
    """Announces another size than it has."""

    def __getitem__(self, index):
        return random_example(0, (33, 64))


def test_an_example_that_is_not_as_announced_is_damaged():
    loader = Loader([Announced([WIDE])], configure(), MODEL, seed=0)
    message = r"memory/0: the image has 64x33 .* memory\[0\] was announced with 64x32"
    with pytest.raises(InputError, match=message):
        next(loader)


def test_a_bug_in_a_source_is_an_error_that_names_the_example():
    source = MemorySource([WIDE] * 2, disaster="bug", at=1)
    with pytest.raises(RuntimeError, match=r"memory\[1\]: KeyError: 'no such frame'"):
        take(Loader([source], configure(), MODEL, seed=0), 1)


# Evaluation ------------------------------------------------------------------------


def test_evaluation_sees_every_example_once_and_in_order():
    sizes = [WIDE] * 5 + [TALL] * 2 + [(16, 32)] * 3
    source = MemorySource(sizes)
    batches = list(evaluation_batches(source, configure(), MODEL, batch_size=2))
    assert [b.numbers[b.valid].tolist() for b in batches] == [
        [0, 1], [2, 3], [4], [5, 6], [7, 8], [9],
    ]  # fmt: skip
    for batch in batches:
        bucket = TALL if batch.numbers[0] in (5, 6) else WIDE
        for row, number in enumerate(batch.numbers):
            example = source[int(number)]
            size, _ = resized_size(example.image.shape[:2], MODEL)
            motion = encode_flow(resize_flow(example.flow, size))
            expected = preprocess(example.image, motion, MODEL, pad_to=bucket)
            for got, wanted in zip(batch.inputs, expected, strict=True):
                assert_array_equal(got[row], wanted)
    assert batches[2].numbers.tolist() == [4, 4]
    assert batches[2].valid.tolist() == [True, False]


def test_evaluation_leaves_out_what_has_no_flow():
    source = MemorySource([WIDE] * 4)
    source.has_flow = [True, True, False, True]
    numbers = [
        b.numbers.tolist() for b in evaluation_batches(source, configure(), MODEL)
    ]
    assert numbers == [[0], [1], [3]]
    everything = list(evaluation_batches(source, configure(), APPEARANCE, batch_size=4))
    assert everything[0].numbers.tolist() == [0, 1, 2, 3]
    assert list(evaluation_batches(MemorySource([]), configure(), MODEL)) == []


def test_evaluation_names_a_damaged_example_when_it_comes_to_it():
    batches = evaluation_batches(
        MemorySource([WIDE] * 3, damaged=[1]), configure(), MODEL
    )
    next(batches)
    with pytest.raises(InputError, match=r"memory/1\.png: not a PNG"):
        next(batches)


# Worker processes ------------------------------------------------------------------


def children():
    """Ids of this process's children that are workers."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            line = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        worker = b"spawn_main" in line and fields[0] != "Z"
        if worker and int(fields[1]) == os.getpid():
            found.add(int(status.parent.name))
    return found


def test_a_worker_process_gives_the_same_batches_and_ends_with_its_loader():
    config = configure(2, augment=ALL)
    expected = take(Loader(make_sources(), config, MODEL, seed=2), 3)
    config = dataclasses.replace(config, workers=1)
    with Loader(make_sources(), config, MODEL, seed=2) as loader:
        assert_same([next(loader) for _ in range(3)], expected)
        assert len(children()) == 1
    assert not children()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers):
    config = configure(2, augment=ALL, on_damaged="skip")
    sources = make_sources()
    sources[1].damaged = {2}
    expected = take(Loader(sources, config, MODEL, seed=2), 13)
    config = dataclasses.replace(config, workers=workers)
    loader = Loader(sources, config, MODEL, seed=2)
    assert_same(take(loader, 13), expected)
    assert loader.damaged == ["b/2.png: not a PNG."]
    for step in (1, 12):
        loader.set_state({**loader.get_state(), "step": step})
        assert_same(take(loader, 13 - step), expected[step:])
    assert not children()


@pytest.mark.slow
def test_evaluation_with_workers_is_the_same():
    source = MemorySource([WIDE] * 5 + [TALL] * 2)
    config = configure(workers=2)
    expected = list(evaluation_batches(source, configure(), MODEL, batch_size=2))
    batches = list(evaluation_batches(source, config, MODEL, batch_size=2))
    for got, wanted in zip(batches, expected, strict=True):
        assert_array_equal(got.numbers, wanted.numbers)
        for a, b in zip(got.inputs, wanted.inputs, strict=True):
            assert_array_equal(a, b)
    unfinished = evaluation_batches(source, config, MODEL)
    next(unfinished)
    assert children()
    unfinished.close()
    assert not children()


@pytest.mark.slow
@pytest.mark.parametrize(
    "disaster, kind, message",
    [
        ("kill", RuntimeError, "A process that reads data died: .*exit code -9"),
        ("bug", RuntimeError, r"memory\[1\]: KeyError: 'no such frame'"),
        ("bug that cannot be pickled", RuntimeError, r"memory\[1\]: Unpicklable"),
        ("damaged", InputError, r"memory/1\.png: not a PNG"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_disasters_in_workers_are_errors_and_leave_nothing(
    disaster, kind, message, workers
):
    source = MemorySource([WIDE] * 4, disaster=disaster, at=1)
    if disaster == "damaged":
        source.damaged = {1}
    loader = Loader([source], configure(workers=workers), MODEL, seed=0)
    with pytest.raises(kind, match=message):
        for _ in range(3):
            next(loader)
    assert not children()


@pytest.mark.slow
def test_a_worker_that_is_killed_later_is_an_error_and_no_hang():
    source = MemorySource([WIDE] * 40)
    loader = Loader([source], configure(workers=2), MODEL, seed=0)
    next(loader)
    os.kill(min(children()), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="died"):
        for _ in range(20):
            next(loader)
    assert not children()
    # It can go on from there.
    assert next(loader).inputs.image.shape == (4, *WIDE, 3)
    loader.close()


SCRIPT = """
import os, sys, time
from movseg_jax.config import DataConfig, ModelConfig, SourceConfig
from movseg_jax.data.loader import Loader
from tests.fakes.memory_source import MemorySource

def main():
    config = DataConfig(sources=(SourceConfig("a"),), batch_size=4, workers=2)
    model = ModelConfig(short_side=64, long_side=128)
    loader = Loader([MemorySource([(64, 128)] * 9)], config, model, seed=0)
    global kept
    kept = [next(loader) for _ in range(5)]
    {ending}

if __name__ == "__main__":
    main()
"""


def run_script(tmp_path, ending):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("{ending}", ending))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending", ["loader.close()", "pass", "sys.exit()", "del loader"]
)
def test_a_script_ends_quietly_and_leaks_no_shared_memory(tmp_path, ending):
    # Python reports at its end what is left of shared memory.
    process = run_script(tmp_path, ending)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    process = run_script(tmp_path, "print(os.getpid(), flush=True); time.sleep(60)")
    parent = int(process.stdout.readline())
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True
    )
    workers = list(map(int, listed.stdout.split()))
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    for _ in range(50):
        alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


@pytest.mark.slow
def test_workers_start_no_backend_of_jax():
    source = Spy([WIDE] * 4)
    config = configure(sources=(SourceConfig("spy"),), workers=1)
    (batch,) = take(Loader([source], config, APPEARANCE, seed=0), 1)
    assert (batch.objects.valid.sum(axis=1) == 1).all()


class Spy(MemorySource):
    """An example has one object if JAX has no backend in this process, else none."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        bridge = sys.modules.get("jax._src.xla_bridge")
        started = bridge is not None and bridge.backends_are_initialized()
        n = 0 if started else 1
        return dataclasses.replace(
            example,
            masks=np.ones((n, *self.sizes[index]), bool),
            classes=np.zeros(n, np.int32),
            ids=np.arange(1, n + 1, dtype=np.int32),
            ignore=np.zeros(n, bool),
            moving=np.ones(n, bool),
        )


def test_the_package_s_data_side_imports_no_jax_itself():
    code = (
        "import sys\n"
        "from movseg_jax.data import batches, transforms\n"
        "assert 'jax' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_source_survives_pickling():
    assert pickle.loads(pickle.dumps(MemorySource([WIDE]))).sizes == [WIDE]
