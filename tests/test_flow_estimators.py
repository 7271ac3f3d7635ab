"""Estimated flow on pictures that move as is known, streams, caches and folders."""

import os
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.errors import InputError
from movseg_jax.flow.cache import cached
from movseg_jax.flow.estimators import estimate_flows, get_estimator
from movseg_jax.flow.files import read_flow, write_flow
from movseg_jax.flow.folder import FlowFolder
from movseg_jax.images import read_rgb
from tests.outside import needs, outside

ROOT = Path(__file__).parents[1]
PAIRS = "data/flow_pairs"
NAMES = ["dis", "dis_fast", "farneback"]


def texture(height=120, width=160, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def shifted(x, y, height=120, width=160):
    """A frame whose picture lies (x, y) pixels further right and down."""
    large = texture(height + 40, width + 40)
    return large[20 - y : 20 - y + height, 20 - x : 20 - x + width].copy()


# Estimators ----------------------------------------------------------------------


@pytest.mark.parametrize("working_side", [None, 80, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_flow_points_to_where_a_pixel_goes_in_pixels_of_the_frame(name, working_side):
    flow = get_estimator(name, working_side)(shifted(0, 0), shifted(4, -2))
    assert flow.shape == (120, 160, 2) and flow.dtype == np.float32
    error = np.abs(flow[15:-15, 15:-15] - [4, -2])
    assert np.median(error) < (0.5 if working_side == 80 else 0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 200), (200, 1), (2, 3), (8, 64), (16, 400), (31, 33)]
)
def test_frames_of_any_size_have_flow(name, size):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, *size, 3)).astype(np.uint8)
    for working_side in (None, 5):
        flow = get_estimator(name, working_side)(*frames)
        assert flow.shape == (*size, 2) and np.isfinite(flow).all()
    assert_allclose(get_estimator(name)(frames[0], frames[0]), 0, atol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_small_frames_are_estimated_too(name):
    flow = get_estimator(name)(shifted(0, 0, 20, 24), shifted(1, 0, 20, 24))
    assert_allclose(np.median(flow, axis=(0, 1)), [1, 0], atol=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_estimators_can_be_pickled_and_repeat_themselves(name):
    estimator = get_estimator(name, 90)
    again = pickle.loads(pickle.dumps(estimator))
    assert again == estimator and "working_side=90" in repr(estimator)
    pair = shifted(0, 0), shifted(3, 1)
    assert_array_equal(estimator(*pair), again(*pair))


def test_the_number_of_threads_does_not_matter():
    pair, threads = (shifted(0, 0), shifted(3, 1)), cv2.getNumThreads()
    flows = []
    try:
        for number in (1, 2, 5):
            cv2.setNumThreads(number)
            flows.append([get_estimator(name)(*pair) for name in NAMES])
    finally:
        cv2.setNumThreads(threads)
    assert_array_equal(flows[0], flows[1])
    assert_array_equal(flows[0], flows[2])


def test_estimators_that_do_not_exist_are_refused():
    with pytest.raises(
        InputError, match="'raft'; expected one of dis, dis_fast, farneback"
    ):
        get_estimator("raft")
    with pytest.raises(InputError, match="expected at least 1"):
        get_estimator("dis", 0)


@pytest.mark.parametrize(
    "frame, next_frame, message",
    [
        ((4, 5, 3), (5, 4, 3), "5x4 pixels .* and the next 4x5"),
        ((4, 5), (4, 5), r"uint8\[4, 5\], expected uint8 RGB"),
        ((0, 5, 3), (0, 5, 3), "not empty"),
    ],
)
def test_frames_that_do_not_go_together_are_refused(frame, next_frame, message):
    frames = np.zeros(frame, np.uint8), np.zeros(next_frame, np.uint8)
    with pytest.raises(InputError, match=message):
        get_estimator()(*frames)


@needs(PAIRS)
@pytest.mark.parametrize(
    "i, still, dis", [(1, 4.31, 2.70), (2, 2.11, 0.64), (3, 4.77, 3.02)]
)
def test_dis_errs_as_published_on_flying_chairs(i, still, dis):
    truth = read_flow(outside(PAIRS) / f"0000{i}_flow.flo")
    pair = [read_rgb(outside(PAIRS) / f"0000{i}_img{k}.png") for k in (1, 2)]
    error = np.linalg.norm(get_estimator()(*pair) - truth, axis=-1).mean()
    assert round(float(error), 2) == dis
    assert round(float(np.linalg.norm(truth, axis=-1).mean()), 2) == still


# Streams -------------------------------------------------------------------------


def test_every_frame_has_a_flow_but_the_last():
    frames = [shifted(2 * i, 0) for i in range(4)]
    flows = list(estimate_flows(iter(frames), get_estimator()))
    assert len(flows) == 4 and flows[3] is None
    for i in range(3):
        assert_array_equal(flows[i], get_estimator()(frames[i], frames[i + 1]))


def test_streams_of_no_and_one_frame_are_fine():
    assert list(estimate_flows([], get_estimator())) == []
    assert list(estimate_flows([shifted(0, 0)], get_estimator())) == [None]


def test_a_stream_holds_two_frames():
    seen = []

    def frames():
        for i in range(5):
            seen.append(i)
            yield np.full((4, 4, 3), i, np.uint8)

    for i, _ in enumerate(estimate_flows(frames(), get_estimator())):
        assert seen[-1] <= i + 1


def test_a_frame_of_another_size_is_named():
    frames = [np.zeros((4, width, 3), np.uint8) for width in (5, 5, 6)]
    with pytest.raises(InputError, match="frames 1 and 2: a frame has 5x4"):
        list(estimate_flows(frames, get_estimator()))


# The cache -----------------------------------------------------------------------


class Counting:
    """An estimator that counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, frame, next_frame):
        self.calls += 1
        difference = next_frame.astype(np.float32) - frame
        return np.ascontiguousarray(difference[..., :2] / 7)


def numbered(i):
    return np.full((6, 8, 3), i, np.uint8)


def test_what_was_estimated_once_is_read_without_loss(tmp_path):
    counting = Counting()
    estimator = cached(counting, tmp_path / "new" / "cache", name="counting")
    first = estimator(numbered(1), numbered(5))
    assert_array_equal(estimator(numbered(1), numbered(5)), first)
    assert counting.calls == 1
    assert_array_equal(first, counting(numbered(1), numbered(5)))


def test_other_frames_settings_and_shapes_are_other_entries(tmp_path):
    counting = Counting()
    estimator = cached(counting, tmp_path, name="counting")
    estimator(numbered(1), numbered(2))
    estimator(numbered(2), numbered(1))
    estimator(np.full((8, 6, 3), 1, np.uint8), np.full((8, 6, 3), 2, np.uint8))
    cached(counting, tmp_path, name="other")(numbered(1), numbered(2))
    assert counting.calls == 4 == len(list(tmp_path.iterdir()))
    for side in (None, 4):
        cached(get_estimator("dis", side), tmp_path)(numbered(1), numbered(2))
    assert len(list(tmp_path.iterdir())) == 6


def test_an_estimator_of_one_s_own_needs_a_name(tmp_path):
    with pytest.raises(InputError, match="needs `name`"):
        cached(Counting(), tmp_path)


@pytest.mark.parametrize("where", [0, 100, 200, -1])
def test_damaged_entries_are_estimated_anew(tmp_path, where):
    counting = Counting()
    estimator = cached(counting, tmp_path, name="counting")
    flow = estimator(numbered(1), numbered(9))
    (entry,) = tmp_path.iterdir()
    data = bytearray(entry.read_bytes())
    entry.write_bytes(data[: len(data) // 2])
    assert_array_equal(estimator(numbered(1), numbered(9)), flow)
    data[where] ^= 1
    entry.write_bytes(data)
    assert_array_equal(estimator(numbered(1), numbered(9)), flow)
    assert counting.calls <= 3
    assert_array_equal(read_flow(entry), flow)


def test_a_full_cache_forgets_what_was_not_used_for_longest(tmp_path):
    counting = Counting()
    estimator = cached(counting, tmp_path, name="counting")
    estimator(numbered(0), numbered(1))
    size = next(tmp_path.iterdir()).stat().st_size
    estimator = cached(counting, tmp_path, name="counting", max_bytes=3 * size)
    (tmp_path / "mine.txt").write_text("not the cache's" * 10_000)
    killed = tmp_path / f".{'a' * 40}.npz.0123abcd.tmp"
    killed.touch()
    os.utime(killed, (0, 0))
    for i in range(1, 3):
        estimator(numbered(i), numbered(i + 1))
        time.sleep(0.01)
    estimator(numbered(0), numbered(1))  # Used again, so 1 is the oldest.
    time.sleep(0.01)
    estimator(numbered(3), numbered(4))
    assert counting.calls == 4 and not killed.exists()
    assert len(list(tmp_path.glob("*.npz"))) == 3
    assert (tmp_path / "mine.txt").exists()
    for i, calls in ((0, 4), (2, 4), (3, 4), (1, 5)):
        estimator(numbered(i), numbered(i + 1))
        assert counting.calls == calls, i


def use_cache(folder):
    estimator = cached(get_estimator(), folder, max_bytes=3000)
    for _ in range(3):
        for i in range(8):
            flow = estimator(numbered(i), numbered(i + 1))
            assert flow.shape == (6, 8, 2)
    return True


def test_processes_can_share_a_cache(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert all(pool.map(use_cache, [tmp_path] * 2))
    assert all(path.suffix == ".npz" for path in tmp_path.iterdir())


def test_a_cache_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made a folder"):
        cached(get_estimator(), tmp_path / "file")


def test_cached_estimators_can_be_pickled(tmp_path):
    estimator = pickle.loads(pickle.dumps(cached(get_estimator(), tmp_path)))
    estimator(numbered(1), numbered(2))
    assert len(list(tmp_path.iterdir())) == 1


# Folders of flow -----------------------------------------------------------------


def constant(value, size=(6, 8)):
    return np.full((*size, 2), value, np.float32)


@pytest.mark.parametrize("to", ["flo", "pfm", "npz", "kitti", "png"])
def test_a_folder_has_the_flow_of_every_frame_but_the_last(tmp_path, to):
    suffix = {"kitti": ".png"}.get(to, f".{to}")
    for i in range(3):
        write_flow(tmp_path / f"f{i}{suffix}", constant(i), to=to)
    (tmp_path / "flow.json").touch()
    (tmp_path / ".hidden.flo").touch()
    folder = FlowFolder(tmp_path)
    for i in range(3):
        flow = folder(f"f{i}", frame_size=(6, 8))
        assert_allclose(flow, constant(i), atol=0.05)
    assert folder("f3", last=True) is None
    flows = list(folder.flows((f"f{i}", numbered(i)) for i in range(4)))
    assert [flow is None for flow in flows] == [False, False, False, True]


def test_the_last_frame_has_no_flow_whatever_the_folder_holds(tmp_path):
    write_flow(tmp_path / "a.flo", constant(1))
    assert FlowFolder(tmp_path)("a", last=True) is None
    assert list(FlowFolder(tmp_path).flows([])) == []


def test_a_folder_s_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a folder"):
        FlowFolder(tmp_path / "none")
    with pytest.raises(InputError, match="has no flow files"):
        FlowFolder(tmp_path)
    write_flow(tmp_path / "a.flo", constant(1))
    write_flow(tmp_path / "c.flo", constant(1))
    folder = FlowFolder(tmp_path)
    with pytest.raises(InputError, match=r"'b', which is not the last; .* 'a' to 'c'"):
        folder("b")
    with pytest.raises(InputError, match=r"'\.\./a'"):
        folder("../a")
    with pytest.raises(InputError, match=r"a\.flo: is flow of 8x6 .* Transposed"):
        folder("a", frame_size=(8, 6))
    write_flow(tmp_path / "a.pfm", constant(1))
    with pytest.raises(InputError, match=r"both a\.flo and a\.pfm"):
        FlowFolder(tmp_path)
