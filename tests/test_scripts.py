"""The scripts that make training data and measure models, as far as they compute."""

import argparse
import dataclasses
import importlib.util
import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from movseg_jax import masks
from movseg_jax.config import ModelConfig, TrackConfig, TrunkConfig
from movseg_jax.config_files import load_config
from movseg_jax.data.example import Example
from movseg_jax.data.sources import open_source
from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.model.parameters import fresh, parameter_shapes
from movseg_jax.model.weights import load_weights, save_weights
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.segment.detecting import Detected
from movseg_jax.video.reading import Frame
from tests.fakes import layouts
from tests.fakes.square_detector import make_detector

SCRIPTS = Path(__file__).parents[1] / "scripts"
SIZE = (40, 60)
WORTH = [1.0] * 4


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def animation():
    return load("animate_photographs")


def still(seed=0, objects=4):
    """Objects beside and upon each other; the last one is ignored."""
    rng = np.random.default_rng(seed)
    shapes = np.zeros((objects, *SIZE), bool)
    for i, mask in enumerate(shapes):
        mask[5 + 3 * i : 20 + 3 * i, 4 + 11 * i : 18 + 11 * i] = True
    numbers = np.arange(objects, dtype=np.int32)
    return Example(
        name="coco/x",
        image=rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8),
        flow=None,
        masks=shapes,
        classes=numbers * 0,
        ids=numbers + 1,
        ignore=numbers == objects - 1,
        moving=np.ones(objects, bool),
    )


@pytest.mark.parametrize("seed", range(20))
def test_what_is_chosen_to_move(animation, seed):
    photograph = still()
    chosen = animation.choose(photograph, WORTH, np.random.default_rng(seed))
    assert chosen.sum(axis=0).max(initial=0) <= 1  # They do not overlap.
    known = photograph.masks[~photograph.ignore].any(axis=0)
    assert not (chosen.any(axis=0) & ~known).any()
    assert all(mask.mean() > animation.AREA[0] for mask in chosen)
    assert chosen.any(axis=0).mean() < animation.AREA[1]


def test_rare_things_are_taken_more_often(animation, tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "COMMON", 2.0)
    layouts.coco(tmp_path, splits=("train",))
    source = open_source("coco_classes", "train", tmp_path)
    there = [set(source[i].classes[~source[i].ignore].tolist()) for i in range(3)]
    counts = {c: sum(c in classes for classes in there) for c in set().union(*there)}
    assert animation.Kinds([source]).rarity() == {
        source.classes[c]: pytest.approx((6 / count) ** 0.5)
        for c, count in counts.items()
    }


def test_things_of_one_category_are_told_apart_by_their_folders(
    animation, tmp_path, monkeypatch
):
    """Two folders of two photographs and of one, gathered from sources of their own."""
    gather = load("gather_objects")
    for folder, count in (("cats", 2), ("horses", 1)):
        layouts.photographs_with_objects(tmp_path / "objects" / folder, count)
    arguments = [str(tmp_path / "objects"), "--out", str(tmp_path), "--split", "own"]
    monkeypatch.setattr("sys.argv", ["gather", *arguments])
    gather.main()
    source = open_source("coco_classes", "own", tmp_path)
    assert list(source.sequences) == ["cats/0", "cats/1", "horses/0"]
    assert list(source.classes) == ["object"]
    for i in range(3):
        assert_array_equal = np.testing.assert_array_equal
        assert_array_equal(source[i].masks[0], layouts.truth(i % 2) == 1)
        assert_array_equal(source[i].masks[1], layouts.truth(i % 2) == 2)
        difference = np.abs(source[i].image.astype(int) - layouts.frame(i % 2))
        assert difference.mean() < 60  # It is JPEG of noise.
    monkeypatch.setattr(animation, "COMMON", 2.0)
    rarity = animation.Kinds([source]).rarity()
    assert rarity == {"cats": pytest.approx(3**0.5), "horses": pytest.approx(6**0.5)}


def test_a_folder_without_objects_is_refused(tmp_path, monkeypatch):
    gather = load("gather_objects")
    monkeypatch.setattr("sys.argv", ["gather", str(tmp_path), "--out", str(tmp_path)])
    with pytest.raises(InputError, match=r"has no folder with an instances\.json"):
        gather.main()


class Album(list):
    """Photographs as a source."""

    name, classes = "album/all", ("object",)

    @property
    def sequences(self):
        return {f"folder/{i}": range(i, i + 1) for i in range(len(self))}

    @property
    def sizes(self):
        return [SIZE] * len(self)

    @property
    def has_flow(self):
        return [False] * len(self)


def test_guests_leave_enough_to_see_of_what_is_there(animation, monkeypatch):
    monkeypatch.setattr(animation, "GUESTS", 1.0)
    kinds = animation.Kinds([Album(still(seed) for seed in range(3))])
    numbers = set()
    for seed in range(20):
        photograph = still(seed)
        guests = kinds.invite(photograph, ["folder"], np.random.default_rng(seed))
        numbers.add(len(guests))
        there = list(photograph.masks[~photograph.ignore])
        for guest in guests:
            assert guest.guest and guest.mask.mean() >= animation.AREA[0]
            for mask in there:
                hidden = (mask & guest.mask).sum()
                assert hidden <= animation.HIDDEN * mask.sum()
            there.append(guest.mask)
    assert max(numbers) > 1


def test_guests_that_rest_stand_before_what_moves(animation, monkeypatch):
    """They are in neither annotation, and hide what is behind them."""
    for name, value in (("NOTHING_MOVES", 0.0), ("SHADED", 0.0), ("HOST_RESTS", 0.0)):
        monkeypatch.setattr(animation, name, value)
    monkeypatch.setattr(animation, "TRIPOD", 1.0)
    monkeypatch.setattr(animation, "FOLLOWS", 0.0)
    white = np.full((*SIZE, 3), 255, np.float32)
    for seed in range(10):
        photograph = dataclasses.replace(still(seed), image=white.astype(np.uint8) // 5)
        mask = np.zeros(SIZE, bool)
        mask[10:30, 15:25] = True
        stands = animation.Layer(white, mask, moves=False, guest=True)
        moving = animation.Layer(white, mask, moves=True, guest=True)
        for guest, visible in ((stands, False), (moving, True)):
            rng = np.random.default_rng(seed)
            frames = animation.animate(photograph, WORTH, rng, [guest])
            number = frames[0][1][20, 20]
            assert bool(number) == visible
            assert (frames[0][1][mask] == number).all()
            for image, ids in frames:
                bright = image.mean(axis=2) > 200
                assert bright.sum() > 0.5 * mask.sum()
                assert np.mean(ids[bright] == number) > 0.9


@pytest.mark.parametrize("seed", range(10))
def test_what_touches_moves_together(animation, monkeypatch, seed):
    """Also what touches only what touches it; and the first of four is not alone."""
    monkeypatch.setattr(animation, "TOGETHER", 1.0)
    monkeypatch.setattr(animation, "NOTHING_MOVES", 0.0)
    photograph = still(objects=4)  # Three in a row, and one that is ignored.
    chosen = animation.choose(photograph, WORTH, np.random.default_rng(seed))
    together = np.asarray(photograph.masks[:3].any(axis=0))
    np.testing.assert_array_equal(chosen, together[None])


def test_never_does_all_move(animation, monkeypatch):
    monkeypatch.setattr(animation, "TOGETHER", 1.0)
    monkeypatch.setattr(animation, "NOTHING_MOVES", 0.0)
    none = np.zeros(2, bool)
    halves = np.zeros((2, *SIZE), bool)
    halves[0, :, :30] = halves[1, :, 30:] = True
    photograph = dataclasses.replace(still(objects=2), masks=halves, ignore=none)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert not len(animation.choose(photograph, WORTH[:2], rng))


def test_shades_fall_on_nothing_that_moves(animation, monkeypatch):
    """In neither frame, though they do fall on the rest."""
    for name, value in (("SHADED", 1.0), ("NOTHING_MOVES", 0.0), ("TOGETHER", 0.0)):
        monkeypatch.setattr(animation, name, value)
    image = np.full((*SIZE, 3), 200, np.uint8)
    grey = dataclasses.replace(still(objects=3), image=image)
    shaded = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for image, ids in animation.animate(grey, WORTH[:3], rng):
            moves = (ids > 0).astype(np.uint8)
            inside = cv2.erode(moves, np.ones((5, 5), np.uint8)) > 0
            assert abs(image[inside].mean() - 200) < 3
            shaded += int((image[ids == 0] < 170).sum())
    assert shaded


@pytest.mark.parametrize("seed", range(10))
def test_annotations_are_where_the_objects_are(animation, monkeypatch, seed):
    for name, value in (("SHADED", 0.0), ("NOTHING_MOVES", 0.0), ("TOGETHER", 1.0)):
        monkeypatch.setattr(animation, name, value)
    photograph = still(objects=4)
    painted = np.asarray(photograph.masks[:3].any(axis=0))
    image = np.where(painted, 250, 20).astype(np.uint8)[..., None].repeat(3, axis=2)
    photograph = dataclasses.replace(photograph, image=image)
    frames = animation.animate(photograph, WORTH, np.random.default_rng(seed))
    for image, ids in frames:
        bright = image.mean(axis=2) > 135
        assert ((ids > 0) != bright).sum() < 0.1 * bright.sum()


def test_images_move_by_their_shifts(animation):
    image = still().image.astype(np.float32)
    shift = np.broadcast_to(np.array([3, -2], np.float32), (*SIZE, 2))
    moved = animation.warp(image, shift)
    np.testing.assert_allclose(moved[:-2, 3:], image[2:, :-3], atol=1e-3)


def test_a_tripod_sees_the_same_again(animation, monkeypatch):
    monkeypatch.setattr(animation, "NOTHING_MOVES", 1.0)
    monkeypatch.setattr(animation, "TRIPOD", 1.0)
    monkeypatch.setattr(animation, "RIPPLES", 0.0)
    (first, ids), (second, later) = animation.animate(
        still(), WORTH, np.random.default_rng(0)
    )
    assert not ids.any() and not later.any()
    # But for the sensor's noise, of at most 4.
    assert np.abs(first.astype(int) - second).mean() < 5


def test_the_folder_is_a_data_set(animation, tmp_path, monkeypatch):
    layouts.coco(tmp_path / "coco", splits=("train",))
    out = tmp_path / "out"
    arguments = ["animate", str(tmp_path / "coco"), "--out", str(out), "--copies", "3"]
    monkeypatch.setattr("sys.argv", arguments)
    animation.main()
    source = open_source("folder", "train", out)
    assert len(source.sequences) == 9
    assert all(len(numbers) == 2 for numbers in source.sequences.values())
    assert any(len(source[i].masks) for i in range(18))
    assert not any(source[i].ignore.any() for i in range(18))


def test_the_recipe_prepares_what_its_stages_read():
    """Every source with its split and options, and no others."""
    recipe = load("train_default")
    inputs = ("davis", "coco", "objects", "videos", "backgrounds", "resnet")
    options = argparse.Namespace(**{name: Path("/in") / name for name in inputs})
    there = set()
    for program, *arguments in recipe.data_steps(options):
        words = [str(argument) for argument in arguments]
        if program == "movseg" and words[:2] == ["data", "prepare"]:
            values = {word: words[i + 1 :] for i, word in enumerate(words)}
            names = itertools.takewhile(
                lambda word: not word.startswith("--"), values["--splits"]
            )
            given = tuple(tuple(o.split("=")) for o in values.get("--options", ()))
            name = words[words.index("--manual-dir") - 1]
            folder = values["--data-dir"][0]
            there |= {(folder, name, split, given) for split in names}
    read = set()
    for _, _, config, *rest in recipe.stages():
        data = load_config(config).data
        folder = rest[rest.index("--data-dir") + 1]
        for source in (*data.sources, data.validation):
            read.add((folder, source.name, source.split, source.options))
        if "--data.sources.3.weight" in rest:
            assert data.sources[3].split == "all"
    assert there == read


def test_the_recipe_trains_each_stage_again_until_its_run_says_that_it_is_done(
    tmp_path, monkeypatch
):
    """Data are not made again. The list of steps cannot know whose run is there."""
    recipe, started = load("train_default"), []
    monkeypatch.setattr(
        recipe, "finish", lambda command, folder: started.append(command) or 0
    )
    inputs = ("davis", "coco", "objects", "videos", "backgrounds", "resnet")
    paths = [word for name in inputs for word in (f"--{name}", str(tmp_path))]
    monkeypatch.setattr(
        sys, "argv", ["train_default.py", *paths, "--out", str(tmp_path)]
    )
    assert recipe.main() == 0
    first, stages = len(started), len(list(recipe.stages()))
    assert first > stages
    assert recipe.main() == 0
    assert started[first:] == started[first - stages : first]


def test_a_driver_stops_the_command_that_it_waits_for(tmp_path):
    """And takes its status: what trains saves itself then, and tells so."""
    script = load("train_default")
    started = tmp_path / "started"
    command = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        f"pathlib.Path({str(started)!r}).touch()\n"
        "time.sleep(60)\n"
    )

    def stop():
        while not started.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    assert script.finish([sys.executable, "-c", command], tmp_path) == 75
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_clips_of_the_camera_nothing_moves():
    false_tracks = load("false_tracks")
    (video,) = false_tracks.only_the_camera_moves(1, 3)
    assert [frame.index for frame in video] == [0, 1, 2]
    scene = false_tracks.SceneConfig(frames=3, nothing_moves=1.0)
    source = false_tracks.SyntheticSource(scene, 1, false_tracks.SEED)
    assert not any(source[i].moving.any() for i in range(3))
    # And yet it is no still.
    assert (video[0].image != video[1].image).any()


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Compares what a function of a frame's true masks finds with the truth."""
    script = load("compare_models")
    layouts.davis2017(tmp_path)
    source = open_source("davis2017", "train", tmp_path)

    def compare(find, **options):
        def detect_frames(frames, detector, *, flow, min_score, refine_masks):
            numbers = next(videos)
            for i, frame in zip(numbers, frames, strict=True):
                flow = (
                    None if i == numbers[-1] else np.zeros((*frame.image.shape[:2], 2))
                )
                found = find(source[i].masks)
                detections = FrameDetections(
                    tuple(Detection(masks.encode(m), score, 5.0) for m, score in found)
                )
                yield Detected(frame, flow, detections)

        videos = iter(source.sequences.values())
        monkeypatch.setattr(script, "detect_frames", detect_frames)
        return [
            script.measure(videos)
            for videos in script.compare(source, make_detector(), **options)
        ]

    return compare


def test_a_perfect_model_compares_as_one(compared):
    (numbers,) = compared(lambda truth: [(mask, 0.96) for mask in truth])
    best = ("precision", "recall", "AP50", "best J", "union_j", "best_j", "best_f")
    best += ("idf1", "hota", "tracks_per_object")
    assert [numbers[name] for name in best] == pytest.approx([1] * len(best))
    faults = (
        "stray_tracks",
        "id_switches",
        "overlapping",
        "contained",
        "holes",
        "gaps",
    )
    assert [numbers[name] for name in faults] == [0] * len(faults)
    assert numbers["tracks_per_video"] == 2


def test_a_model_that_finds_nothing_compares_as_none(compared):
    (numbers,) = compared(lambda truth: [])
    for name in ("holes", "gaps"):  # Of no tracks.
        assert np.isnan(numbers.pop(name))
    # No outline agrees with no outline only.
    assert set(numbers.values()) == {0}


def test_a_model_that_finds_things_twice_has_two_tracks_of_each_if_as_released(
    compared,
):
    """A slightly larger one beside each: all of it is tracked, but each thing twice."""

    def find(truth):
        wider = truth | np.roll(truth, 1, axis=2)
        return [(m, 0.96) for m in truth] + [(m, 0.95) for m in wider]

    trackers = (TrackConfig.as_released(), TrackConfig())
    numbers, once = compared(find, trackers=trackers)
    assert numbers["tracks_per_object"] == 2 == numbers["tracks_per_video"] / 2
    assert numbers["overlapping"] == numbers["contained"] == 1
    assert numbers["union_j"] > 0.7 and numbers["idf1"] < 0.7
    assert once["tracks_per_object"] == once["tracks_per_video"] / 2 == 1
    assert (
        once["overlapping"] == once["contained"] == 0 < numbers["idf1"] < once["idf1"]
    )


def test_a_model_that_is_half_right(compared):
    """It finds the first of two things, and as much beside it that is none."""

    def find(truth):
        wrong = np.zeros_like(truth[0])
        wrong[-2:] = True
        return [(truth[0], 0.95), (wrong, 0.94), (truth[1], 0.6)]

    (numbers,) = compared(find)
    assert (numbers["precision"], numbers["recall"]) == (0.5, 0.5)
    # The second thing, not sure enough for both of these, counts for AP and best J.
    assert 0.5 < numbers["AP50"] < 1
    assert 0 < numbers["union_j"] < numbers["best J"] < 1


def test_kept_detections_are_linked_again_in_another_way(compared, tmp_path):
    def nothing(truth):
        raise AssertionError("detects again")

    def find(truth):
        return [(truth[0], 0.96), (truth[1], 0.8)]

    trackers = [TrackConfig(), TrackConfig(start_score=0.75)]
    kept = {"trackers": trackers, "kept": tmp_path / "kept"}
    first, second = compared(find, **kept)
    assert (first["tracks_per_video"], second["tracks_per_video"]) == (1, 2)
    assert first["AP50"] == second["AP50"] == 1
    assert compared(nothing, **kept) == [first, second]
    assert compared(find, trackers=trackers) == [first, second]


def test_true_flow_is_that_of_the_data_set(tmp_path):
    script = load("compare_models")
    layouts.folder(tmp_path)
    source = open_source("folder", "all", tmp_path)
    estimate = script.flow_estimator("true", source, source.sequences["a clip"])
    frames = [source[i].image for i in range(4)]
    for i in range(3):
        np.testing.assert_array_equal(
            estimate(frames[i], frames[i + 1]), source[i].flow
        )
    with pytest.raises(InputError, match="has no flow"):
        estimate(frames[3], frames[3])
    assert script.flow_estimator("dis@240", source, ()).working_side == 240
    with pytest.raises(InputError, match=r"expected NAME@PIXELS"):
        script.flow_estimator("dis@half", source, ())


# Oracles ---------------------------------------------------------------------------


@pytest.fixture
def calibration(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return load("calibrate_scores")


def test_scores_are_calibrated_to_what_they_were_made_of(calibration):
    rng = np.random.default_rng(0)
    videos = []
    for count in (200, 40000):
        logits = rng.normal(0, 3, count)
        right = rng.random(count) < 1 / (1 + np.exp(1 - 0.5 * logits))
        videos.append(calibration.Video(logits, right))
    scale, shift = calibration.fit(videos[1:])
    assert abs(scale - 0.5) < 0.02 and abs(shift + 1) < 0.05
    scale, shift = calibration.fit(videos)  # The short video counts as the long one.
    assert 0.02 < abs(scale - 0.5) + abs(shift + 1) < 0.5


@pytest.mark.parametrize("moving", [True, False])
def test_a_detection_is_right_if_an_object_is_there(
    calibration, tmp_path, monkeypatch, moving
):
    layouts.davis2017(tmp_path)
    source = open_source("davis2017", "train", tmp_path)
    videos = iter(source.sequences.values())

    def detect_frames(frames, detector, *, flow, min_score, refine_masks):
        numbers = next(videos)
        for i, frame in zip(numbers, frames, strict=True):
            truth = [Detection(masks.encode(m), 0.75, 5.0) for m in source[i].masks]
            wrong = Detection(masks.encode(~source[i].masks.any(axis=0)), 0.5, 5.0)
            both = FrameDetections((wrong,), tuple(truth))
            both = both if not moving else FrameDetections(both.static, both.moving)
            flow = None if i == numbers[-1] else np.zeros((*frame.image.shape[:2], 2))
            yield Detected(frame, flow, both)

    monkeypatch.setattr("compare_models.detect_frames", detect_frames)
    place = "davis2017", "train", tmp_path
    found = [*calibration.collect(make_detector(), *place, moving=moving)]
    assert len(found) == 2
    for video, numbers in zip(found, source.sequences.values(), strict=True):
        assert video.right.all() and len(video.right) == 2 * (len(numbers) - 1)
        np.testing.assert_allclose(video.logits, np.log(3), rtol=1e-5)


def test_weights_are_bundled_with_other_logits(tmp_path, monkeypatch):
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    config = ModelConfig(trunk, trunk, channels=16, box_head_width=16)
    config = dataclasses.replace(config, static_branch=True)
    shapes = parameter_shapes(config)
    rng = np.random.default_rng(0)
    # Exact in bfloat16.
    params = jax.tree.map(
        lambda leaf: rng.integers(-4, 4, leaf.shape).astype(np.float32), shapes
    )
    save_weights(tmp_path / "weights.safetensors", params, config, {"a": 1})
    words = [str(tmp_path), "--out", str(tmp_path / "b.safetensors"), "--moves", "0.5"]
    words += ["1", "--rests", "2", "0", "--proposals", "9", "--sides", "96", "160"]
    monkeypatch.setattr(sys, "argv", ["bundle_weights.py", *words])
    load("bundle_weights").main()
    bundled = load_weights(tmp_path / "b.safetensors")
    assert bundled.config.proposals == 9 and bundled.config.long_side == 160
    assert bundled.card["bundled"] == {"moves": [0.5, 1.0], "rests": [2.0, 0.0]}
    for part, found, scale, shift in (
        (params, bundled.params, 0.5, 1),
        (params["static"], bundled.params["static"], 2, 0),
    ):
        expected = part["box_head"]["logits"]
        kernel, bias = expected["kernel"] * scale, expected["bias"] * scale
        np.testing.assert_array_equal(found["box_head"]["logits"]["kernel"], kernel)
        bias[1] += shift
        np.testing.assert_array_equal(found["box_head"]["logits"]["bias"], bias)
    same = bundled.params["mask_head"], params["mask_head"]
    jax.tree.map(np.testing.assert_array_equal, *same)


def test_the_mean_of_several_runs_is_bundled(tmp_path, monkeypatch, capsys):
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    config = ModelConfig(None, trunk, channels=16, box_head_width=16)
    shapes = parameter_shapes(config)
    for name, value in (("a", 1), ("b", 4)):
        params = jax.tree.map(lambda x: np.full(x.shape, value, np.float32), shapes)  # noqa: B023
        save_weights(tmp_path / name / "weights.safetensors", params, config, {})
    other = dataclasses.replace(config, channels=32)
    params = jax.tree.map(lambda x: np.zeros(x.shape), parameter_shapes(other))
    save_weights(tmp_path / "c" / "weights.safetensors", params, other, {})

    def bundle(*names):
        runs = [str(tmp_path / name) for name in names]
        words = ["bundle_weights.py", *runs, "--out", str(tmp_path / "d.safetensors")]
        monkeypatch.setattr(sys, "argv", words)
        load("bundle_weights").main()

    bundle("a", "b")
    bundled = load_weights(tmp_path / "d.safetensors")
    assert all((x == 2.5).all() for x in jax.tree.leaves(bundled.params["motion"]))
    assert bundled.card["averaged"] == ["a", "b"]
    with pytest.raises(SystemExit):
        bundle("a", "c")
    assert "different models" in capsys.readouterr().err


@pytest.fixture(scope="module")
def oracles():
    return load("oracles")


def objects(*boxes):
    shapes = np.zeros((len(boxes), *SIZE), bool)
    for mask, (left, top, right, bottom) in zip(shapes, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return shapes


def detected(*found, flow=None):
    image = np.zeros((*SIZE, 3), np.uint8)
    detections = tuple(Detection(masks.encode(mask), 0.1) for mask in found)
    return Detected(Frame(0, "0", image, None), flow, FrameDetections(detections))


def test_the_best_detections_are_those_of_the_objects(oracles):
    truth = objects((2, 2, 12, 20), (30, 5, 50, 30))
    near = objects((3, 2, 12, 20), (30, 5, 48, 30), (0, 30, 60, 40))
    found = oracles.best_detections(truth, detected(*near))
    np.testing.assert_array_equal(found, near[:2].any(axis=0))
    assert not oracles.best_detections(truth, detected(near[2])).any()
    assert not oracles.best_detections(truth, detected()).any()
    assert not oracles.best_detections(truth[:0], detected(*near)).any()


def test_a_mask_of_28_pixels_keeps_rectangles_and_loses_hairs(oracles):
    truth = objects((2, 2, 12, 20), (30, 5, 50, 30))
    np.testing.assert_array_equal(oracles.on_grid(truth), truth.any(axis=0))
    assert not oracles.on_grid(truth[:0]).any()
    wide = np.zeros((1, 300, 300), bool)
    wide[0, 100:200, 100:200] = wide[0, 150, :] = True
    lost = oracles.on_grid(wide) != wide[0]
    assert lost.sum() > 150 and not lost[110:190, 110:190].any()


@pytest.mark.slow
def test_masks_are_predicted_in_the_boxes_they_are_asked_for(oracles):
    """An untrained model's masks are anything, but in their boxes, at most."""
    config = ModelConfig(
        appearance=TrunkConfig(depth=14, width=8, norm="group"),
        motion=None,
        channels=16,
        box_head_width=16,
        short_side=SIZE[0] * 2,
        long_side=SIZE[1] * 2,
    )
    params = fresh(config, 0)
    # As sure of all pixels as can be.
    logits = params["mask_head"]["logits"]
    logits["bias"] = logits["bias"] + 100
    detector = TrainedDetector(config, params, "fresh", "0" * 64)
    truth = objects((2, 2, 12, 20), (30, 5, 50, 30))
    crops = oracles.mask_predictor(detector)(truth, detected())
    found = [oracles.join([each], SIZE) for each in crops]
    np.testing.assert_array_equal(found, truth)
    np.testing.assert_array_equal(oracles.join(crops, SIZE), truth.any(axis=0))
    assert not oracles.mask_predictor(detector)(truth[:0], detected())


# Where a device's time goes -----------------------------------------------------------


@pytest.mark.parametrize(
    "name, group",
    [
        ("jit(step)/jvp(Detector)/vmap(roi_align)/gather fusion.3", "RoIAlign"),
        ("jit(step)/transpose(jvp(Detector))/roi_align/while", "RoIAlign, backward"),
        ("jit(detect)/non_maximum_suppression/while/body/and", "NMS"),
        ("jit(detect)/Detector.propose/top_k sort.4", "top-k and sorting"),
        ("jit(step)/transpose(jvp())/fpn/conv_general_dilated", "convolutions and "
         "products"),
        ("jit(step)/add fusion.1", "other"),
    ],
)  # fmt: skip
def test_an_operation_is_counted_in_its_group(name, group):
    assert load("benchmark_gpu")._group(name) == group


def test_time_that_operations_share_is_counted_once():
    covered = load("benchmark_gpu")._covered
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 2.0)]) == 4.0
    assert covered([]) == 0.0


@pytest.mark.slow
def test_a_trace_says_where_time_goes():
    x = jax.numpy.ones((1200, 1200))
    step = jax.jit(lambda x: jax.lax.top_k(x @ x, 5)[0].sum()).lower(x).compile()
    shares = load("benchmark_gpu").where_time_goes(
        lambda: step(x).block_until_ready(), step.as_text()
    )
    assert shares["convolutions and products"] > 0
    assert shares["top-k and sorting"] > 0
    assert 0 <= shares["waiting"] <= 1
