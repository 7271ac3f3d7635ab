"""Every data set's layout, read as it is and prepared, against what was drawn."""

import dataclasses
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import images
from movseg_jax.data import selection
from movseg_jax.data.annotations import Objects, from_ids
from movseg_jax.data.building import prepare
from movseg_jax.data.checking import check
from movseg_jax.data.datasets import fbms, video_instances
from movseg_jax.data.datasets.joins import join_objects
from movseg_jax.data.sources import LAYOUTS, open_layout, open_source
from movseg_jax.errors import InputError
from tests.fakes import layouts
from tests.outside import needs, outside

DAVIS = "data/davis2016"
COCO = "data/coco_subset"
BEAR = "data/fbms_bear01"

# Name, split, which layout to draw, options, numbers of frames of each sequence.
CASES = {
    "davis2016": ("davis2016", "train", layouts.davis2016, {}, {"bear": 4}),
    "davis2016 instances": (
        "davis2016", "train", layouts.davis2016, {"instances": True}, {"bear": 4},
    ),
    "davis2017": ("davis2017", "val", layouts.davis2017, {}, {"cows": 4}),
    "youtube_vos": (
        "youtube_vos", "train", layouts.youtube_vos, {}, {"0043f083b5": 2},
    ),
    "fbms": ("fbms", "train", layouts.fbms, {}, {"cars1": 2}),
    "fbms test": ("fbms", "test", layouts.fbms, {}, {"tennis": 2}),
    "fbms_3d": ("fbms_3d", "test", layouts.fbms, {}, {"tennis": 2}),
    "flyingthings3d": (
        "flyingthings3d", "train", layouts.flyingthings3d, {}, {"A/0000": 10},
    ),
    "flyingthings3d final": (
        "flyingthings3d", "test", layouts.flyingthings3d,
        {"render": "final", "object_index": True}, {"C/0000": 10},
    ),
    "coco": ("coco", "train", layouts.coco, {}, {"000000000009": 1}),
    "coco_classes": ("coco_classes", "val", layouts.coco, {}, {"000000000030": 1}),
    "coco unlabelled": (
        "coco", "val", layouts.coco, {"unlabelled": "ignore"}, {"000000000025": 1},
    ),
    "folder": ("folder", "all", layouts.folder, {}, {"a clip": 4, "b": 2}),
    "video_instances": (
        "video_instances", "fit", layouts.video_instances,
        {"unlabelled": "ignore"}, {"surf": 4, "walking": 4},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A root of each layout, drawn once, and the options it needs."""
    drawn = {}

    def root_of(draw):
        if draw not in drawn:
            root = tmp_path_factory.mktemp(draw.__name__)
            drawn[draw] = root, draw(root)
        return drawn[draw]

    return root_of


@pytest.fixture(params=CASES, ids=CASES.keys())
def case(request, roots):
    name, split, draw, options, frames = CASES[request.param]
    root, needed = roots(draw)
    return name, split, root, {**needed, **options}, frames


def assert_equal(a, b, flow_step=0.0):
    assert a.name == b.name
    for field in ("image", "masks", "classes", "ids", "ignore", "moving"):
        assert_array_equal(getattr(a, field), getattr(b, field))
        assert getattr(a, field).dtype == getattr(b, field).dtype
    assert (a.flow is None) == (b.flow is None)
    if a.flow is not None:
        assert a.flow.dtype == b.flow.dtype == np.float32
        clipped = np.clip(a.flow, -512, 512 - 1 / 64) if flow_step else a.flow
        assert_allclose(b.flow, clipped, atol=flow_step / 2, rtol=0)


def test_a_source_says_without_reading_what_its_examples_are(case):
    name, split, root, options, frames = case
    source = open_source(name, split, root, **options)
    assert source.name == f"{name}/{split}"
    assert frames.items() <= {k: len(v) for k, v in source.sequences.items()}.items()
    covered = [i for part in source.sequences.values() for i in part]
    assert covered == list(range(len(source)))
    assert len(source.sizes) == len(source.has_flow) == len(source)
    names = []
    for i in range(len(source)):
        example = source[i]
        assert example.image.shape == (*source.sizes[i], 3)
        assert (example.flow is not None) == source.has_flow[i]
        assert example.masks.shape == (len(example.ids), *source.sizes[i])
        assert (example.classes < len(source.classes)).all()
        names.append(example.name)
    assert len(set(names)) == len(names)


def test_prepared_examples_equal_the_originals(case, tmp_path):
    name, split, root, options, _ = case
    original = open_source(name, split, root, **options)
    (folder,) = prepare(
        name, root, tmp_path, splits=[split], workers=2, progress=False, **options
    )
    options.pop("flow", None)
    for place in (tmp_path, folder):
        prepared = open_source(name, split, place, **options)
        assert len(prepared) == len(original) > 0
        assert dict(prepared.sequences) == dict(original.sequences)
        assert list(prepared.sizes) == list(original.sizes)
        assert list(prepared.has_flow) == list(original.has_flow)
        assert list(prepared.classes) == list(original.classes)
    copied = pickle.loads(pickle.dumps(prepared))
    for i in range(len(original)):
        assert_equal(original[i], prepared[i], flow_step=1 / 64)
        assert_equal(prepared[i], copied[i])
        assert original.encoded_image(i) == prepared.encoded_image(i)
        objects = selection.read_objects(prepared, i)
        assert_array_equal(objects.masks, original[i].masks)
        assert prepared.object_counts[i] == (~original[i].ignore).sum()


def test_an_original_source_can_be_pickled(case):
    name, split, root, options, _ = case
    source = open_source(name, split, root, **options)
    assert_equal(source[1], pickle.loads(pickle.dumps(source))[1])


def test_a_data_set_that_is_whole_has_no_problem_but_its_number_of_sequences(case):
    name, split, root, options, _ = case
    problems = check(name, split, root, thorough=True, **options)
    assert all("expected" in problem and "of the split" in problem
               for problem in problems)  # fmt: skip
    whole = ("fbms_3d", "folder", "video_instances")
    assert len(problems) == (0 if name in whole else 1)


# What is drawn ----------------------------------------------------------------------


def frames_of(source, sequence):
    return [source[i] for i in source.sequences[sequence]]


def test_davis_2016_shows_one_object_and_flow_to_the_next_frame(roots):
    root, options = roots(layouts.davis2016)
    for more in ({}, {"instances": True}):
        source = open_source("davis2016", "train", root, **options, **more)
        for i, example in enumerate(frames_of(source, "dog-agility")):
            assert example.name == f"davis2016/dog-agility/{i:05d}"
            assert_array_equal(example.masks, layouts.truth(i)[None] > 0)
            assert example.ids.tolist() == [1]
            assert example.moving.all() and not example.ignore.any()
        assert source.has_flow == [True, True, True, False] * 2
        assert_array_equal(source[5].flow, layouts.flow_of(1))


def test_davis_2016_takes_instances_from_davis_2017(roots):
    root, _ = roots(layouts.davis2016)
    other, _ = roots(layouts.davis2017)
    names = [("train", ("bear",))]
    source = open_source("davis2017", "train", other)
    layouts.davis2016(root.parent / "2016", names)
    source = open_source("davis2016", "train", root.parent / "2016", instances=other)
    assert source[2].ids.tolist() == [1, 2]
    assert_array_equal(source[2].masks[1], layouts.truth(2) == 2)
    both = open_source("davis2016", "train", root.parent / "2016")
    assert_array_equal(both[2].masks[0], source[2].masks.any(axis=0))


def test_davis_2016_is_read_from_a_folder_of_davis_2017(tmp_path):
    layouts.davis2017(tmp_path)
    layouts.write(tmp_path / "ImageSets/2016/train.txt", "bear\r\n")
    merged = open_source("davis2016", "train", tmp_path)
    apart = open_source("davis2016", "train", tmp_path, instances=True)
    assert list(merged.sequences) == list(apart.sequences) == ["bear"]
    assert [len(source[0].ids) for source in (merged, apart)] == [1, 2]


def test_void_is_a_region_to_ignore_and_not_an_object(tmp_path):
    names = [("val", ("cows",))]
    layouts.davis2017(tmp_path, names)
    ids = layouts.truth(0)
    ids[0] = 255
    file = tmp_path / "Annotations/480p/cows/00000.png"
    file.write_bytes(images.encode_ids(ids))
    example = open_source("davis2017", "val", tmp_path)[0]
    assert example.ids.tolist() == [1, 2, 255]
    assert example.ignore.tolist() == [False, False, True]
    assert_array_equal(example.masks[2], ids == 255)


def test_moving_subsets_are_those_of_the_paper():
    counts = {}
    for name, split in (
        ("davis2017", "moving_train"), ("davis2017", "moving_val"),
        ("ytvos_moving", "train"), ("ytvos_moving", "val"),
    ):  # fmt: skip
        layout = LAYOUTS[name](root=Path("nowhere"), split=split)
        names = layout.sequences()
        assert len(names) == len(set(names)) == layout.expected_count()
        counts[name, split] = set(names)
    assert not counts["ytvos_moving", "train"] & counts["ytvos_moving", "val"]
    assert "gold-fish" not in counts["davis2017", "moving_val"]
    assert [len(names) for names in counts.values()] == [30, 22, 396, 101]


def test_moving_videos_of_youtube_vos_come_from_its_train_split(tmp_path):
    wanted = LAYOUTS["ytvos_moving"](root=tmp_path, split="val").sequences()
    layouts.youtube_vos(tmp_path, ["003234408d", "0248626d9a"], count=6)
    for folder in ("train_all_frames/JPEGImages", "train/Annotations"):
        drawn = tmp_path / folder / wanted[0]
        for name in wanted[1:]:
            shutil.copytree(drawn, drawn.with_name(name), copy_function=os.link)
    source = open_source("ytvos_moving", "val", tmp_path)
    assert list(source.sequences) == wanted
    assert source[3].name == f"ytvos_moving/{wanted[1]}/00005"


def test_flow_of_youtube_vos_is_to_the_next_frame_of_the_video(roots):
    root, options = roots(layouts.youtube_vos)
    source = open_source("youtube_vos", "train", root, **options)
    assert [example.name[-5:] for example in map(source.__getitem__, range(2))] == [
        "00000", "00005",
    ]  # fmt: skip
    assert source.next_image(1).stem == "00006"
    assert_array_equal(source[1].flow, layouts.flow_of(5))
    assert_array_equal(source[1].masks[0], layouts.truth(5) == 1)
    slow = open_source("youtube_vos", "train", root, all_frames=False)
    assert slow.next_image(0).stem == "00005"
    assert slow.next_image(1) is None


@pytest.mark.parametrize("split, name", [("train", "cars1"), ("test", "tennis")])
def test_fbms_regions_become_objects_of_their_frames(roots, split, name):
    root, options = roots(layouts.fbms)
    for data_set in ("fbms", "fbms_3d"):
        source = open_source(data_set, split, root, **options)
        for k, i in enumerate((0, 3)):
            example = frames_of(source, name)[k]
            assert len(example.ids) == 2 and not example.ignore.any()
            assert_array_equal(example.masks[0], layouts.truth(i) == 1)
            assert_array_equal(example.masks[1], layouts.truth(i) == 2)
            assert_array_equal(example.flow, layouts.flow_of(i))
            shown = layouts.frame(i)
            assert np.abs(example.image.astype(int) - shown).mean() < 60


def test_fbms_ground_truth_is_read_for_the_evaluation(roots):
    root, _ = roots(layouts.fbms)
    truth = fbms.read_ground_truth(root / "TestSet" / "tennis")
    assert truth.sequence == "tennis" and truth.frame_count == len(truth.images) == 5
    assert [frame.index for frame in truth.frames] == [0, 3]
    assert [frame.image.name for frame in truth.frames] == [
        "tennis454.jpg", "tennis457.jpg",
    ]  # fmt: skip
    for frame in truth.frames:
        assert_array_equal(frame.read_regions(), layouts.truth(frame.index))
        weights = frame.read_weights()
        assert weights[0, 0] == np.float32(0.2) and (weights[1:] == 1).all()
    cars = fbms.read_ground_truth(root / "TrainingSet" / "cars1")
    assert (cars.frames[0].read_weights() == 1).all()


def test_fbms_colours_that_are_not_listed_are_ignored(tmp_path):
    layouts.fbms(tmp_path)
    labels = tmp_path / "TestSet/tennis/GroundTruth/tennis454_gt.ppm"
    rgb = images.read_rgb(labels)
    rgb[7:9, 15:] = (1, 2, 3)
    rgb[9, 15] = (255, 255, 254)
    labels.write_bytes(layouts.pnm(rgb))
    example = open_source("fbms", "test", tmp_path)[0]
    assert example.ignore.tolist() == [False, False, True]
    assert example.masks[2].sum() == 11
    assert not (example.masks[2] & example.masks[:2].any(axis=0)).any()


@pytest.mark.parametrize(
    "stem, number",
    [("cars1_01", 1), ("marple2_001", 1), ("tennis454", 454), ("bear01_0020_gt", 20),
     ("12", 12), ("12_gt", 12), ("cars", None), ("", None), ("1" * 30, None)],
)  # fmt: skip
def test_frame_numbers_are_at_the_end_of_names(stem, number):
    assert fbms.frame_number(stem) == number


def test_flyingthings3d_has_true_flow_except_of_the_last_frame(roots):
    root, _ = roots(layouts.flyingthings3d)
    source = open_source("flyingthings3d", "train", root)
    assert list(source.sequences) == ["A/0000", "B/0000"]
    assert source[0].name == "flyingthings3d/A/0000/0006"
    assert source.has_flow == ([True] * 9 + [False]) * 2
    assert_array_equal(source[3].flow, layouts.flow_of(3))
    assert_array_equal(source[3].masks, layouts.truth(3)[None] > 0)
    none = open_source("flyingthings3d", "train", root, flow=None)
    assert not any(none.has_flow)


def test_object_indices_tell_moving_things_apart(tmp_path):
    layouts.flyingthings3d(tmp_path)
    below = "TEST/C/0000/left/0006.png"
    label = images.encode_png(np.where(layouts.truth(0) == 2, 255, 0).astype(np.uint8))
    (tmp_path / "motion_labels" / below).write_bytes(label)
    options = {"object_index": True}
    source = open_source("flyingthings3d", "test", tmp_path, **options)
    assert source[0].ignore.tolist() == [True]  # 15 pixels are a sliver: it moves, too.
    assert_array_equal(source[0].masks[0], layouts.truth(0) == 2)
    assert source[1].ignore.tolist() == [True]
    other = layouts.frame(0)
    big = np.zeros(layouts.SIZE, np.uint8)
    big[:9] = 255
    (tmp_path / "motion_labels" / below).write_bytes(images.encode_png(big))
    assert open_source("flyingthings3d", "test", tmp_path, **options)[0].ids.tolist()
    assert other.shape == (*layouts.SIZE, 3)


def test_extreme_flow_is_clipped_when_prepared(tmp_path):
    layouts.flyingthings3d(tmp_path / "in", [("TEST", "A")])
    below = "TEST/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm"
    flow = layouts.flow_of(0)
    flow[3, 4] = (-2000, 900)
    flow[5, 6, 0] = np.inf  # Of two pixels of 240: unknown, and taken for none.
    layouts.write_flow(tmp_path / "in" / "optical_flow" / below, flow)
    original = open_source("flyingthings3d", "test", tmp_path / "in")[0]
    assert original.flow[3, 4].tolist() == [-2000, 900]
    assert original.flow[5, 6].tolist() == [0, 0]
    prepare("flyingthings3d", tmp_path / "in", tmp_path, splits=["test"],
            progress=False)  # fmt: skip
    prepared = open_source("flyingthings3d", "test", tmp_path)[0]
    assert prepared.flow[3, 4].tolist() == [-512, 512 - 1 / 64]


def test_coco_has_every_object_and_ignores_crowds(roots):
    root, _ = roots(layouts.coco)
    source = open_source("coco", "train", root)
    assert source.classes == ("object",)
    first, empty, last = (source[i] for i in range(3))
    assert first.name == "coco/000000000009"
    assert first.ids.tolist() == [1, 2, 3] and first.classes.tolist() == [0] * 3
    assert first.ignore.tolist() == [False, True, False]
    assert first.masks[1].sum() == 40 and first.masks[1][8:, 10:].all()
    assert_array_equal(first.masks[0], layouts.truth(0) == 1)
    assert empty.masks.shape == (0, *layouts.SIZE)
    assert_array_equal(last.masks[0], layouts.truth(0) == 1)
    assert not any(source.has_flow)


def test_coco_classes_are_numbered_in_the_order_of_their_ids(roots):
    root, _ = roots(layouts.coco)
    source = open_source("coco_classes", "train", root)
    assert list(source.classes) == ["person", "bowl", "toothbrush"]
    assert source[0].classes.tolist() == [1, 0, 2]
    assert source[2].classes.tolist() == [0]


def test_coco_images_without_annotations_can_be_left_out(roots):
    root, _ = roots(layouts.coco)
    assert len(open_source("coco", "train", root)) == 3
    source = open_source("coco", "train", root, empty=False)
    assert list(source.sequences) == ["000000000009", "000000000030"]


def test_what_is_unlabelled_can_be_ignored(roots):
    root, _ = roots(layouts.coco)
    source = open_source("coco", "train", root, unlabelled="ignore")
    for i in range(3):
        example = source[i]
        assert example.ignore[-1] and example.masks.any(axis=0).all()
        others = example.masks[:-1].any(axis=0)
        assert_array_equal(example.masks[-1], ~others)


def test_a_folder_of_ones_own_needs_neither_all_annotations_nor_flow(roots):
    root, _ = roots(layouts.folder)
    source = open_source("folder", "all", root)
    assert dict(source.sequences) == {"a clip": range(4), "b": range(4, 6)}
    assert source.has_flow == [True, True, True, False, True, True]
    assert source[5].name == "folder/b/00002"
    assert source.next_image(5).name == "00003.jpg"
    assert_array_equal(source[5].flow, layouts.flow_of(2))


@pytest.mark.parametrize("names", [("frames", "masks"), ("images", "annotations")])
def test_a_folder_of_one_video_is_two_folders(tmp_path, names):
    stems = layouts.write_clip(tmp_path / names[0], tmp_path / names[1], every=2)
    source = open_source("folder", "all", tmp_path)
    assert dict(source.sequences) == {tmp_path.name: range(2)}
    assert source.has_flow == [False, False]
    layouts.write_flow_folder(tmp_path / "Flow", stems)
    assert open_source("folder", "all", tmp_path).has_flow == [True, True]


def test_a_folder_may_have_splits(tmp_path):
    layouts.folder(tmp_path)
    layouts.write(tmp_path / "ImageSets/mine.txt", "# of mine\nb\n")
    assert list(open_source("folder", "mine", tmp_path).sequences) == ["b"]
    with pytest.raises(InputError, match=r"yours.txt: not found"):
        open_source("folder", "yours", tmp_path)


def test_objects_that_move_as_one_are_one_in_clips_with_instances(roots):
    root, _ = roots(layouts.video_instances)
    source = open_source("video_instances", "development", root)
    apart = open_source("folder", "all", root)
    for name in ("snowboard", "ytvos_02Ad3UtMz7Y_1"):
        ours, all_apart = frames_of(source, name), frames_of(apart, name)
        for example, single in zip(ours, all_apart, strict=True):
            assert not example.ignore.any() and example.moving.all()
            if name == "snowboard":  # The rider and the board.
                assert example.ids.tolist() == [1]
                assert_array_equal(example.masks[0], single.masks.any(axis=0))
            else:
                assert example.ids.tolist() == [1, 2]
                assert_array_equal(example.masks, single.masks)


def test_joined_objects_are_those_of_their_groups_that_are_there():
    ids = np.array([[5, 5, 2], [7, 0, 9]], np.uint8)
    objects = from_ids(ids, source="")
    joined = join_objects(objects, [(1, 9), (2, 5, 6), (8, 4)])
    assert joined.ids.tolist() == [2, 7, 1]  # As their first objects are listed.
    assert_array_equal(joined.masks[0], (ids == 2) | (ids == 5))
    assert_array_equal(joined.masks[1], ids == 7)
    assert_array_equal(joined.masks[2], ids == 9)
    nothing = from_ids(np.zeros((2, 3), np.uint8), source="")
    assert join_objects(nothing, [(1, 2)]).masks.shape == (0, 2, 3)


def test_what_is_unlabelled_is_ignored_in_clips_where_it_may_move(roots):
    root, _ = roots(layouts.video_instances)
    source = open_source("video_instances", "fit", root, unlabelled="ignore")
    ignored = {
        name
        for name, part in source.sequences.items()
        if source[part.start].ignore.any()
    }
    assert ignored == {"walking", "ytvos_aJP_eBK8kY0_1"}


def test_clips_of_one_video_are_in_one_split():
    file = Path(video_instances.__file__).parent / "lists" / "video_instances.json"
    clips = json.loads(file.read_text())["clips"]
    splits: dict[str, set[str]] = {}
    for row in clips.values():
        splits.setdefault(row["video"], set()).add(row["split"])
    assert all(len(of_video) == 1 for of_video in splits.values())
    held_out = [video for video, found in splits.items() if found == {"development"}]
    assert len(held_out) >= 3
    counts = {"fit": 0, "development": 0}
    for row in clips.values():
        counts[row["split"]] += 1
    assert counts == LAYOUTS["video_instances"].splits
    # DAVIS 2016 train has it, so that models have seen it.
    assert clips["surf"]["split"] == "fit"


# Wrong folders -----------------------------------------------------------------------


def test_unknown_names_splits_and_options_list_the_known():
    with pytest.raises(InputError, match=r"'davis2061'.*expected one of coco, .*mean"):
        open_source("davis2061", "train", "x")
    with pytest.raises(InputError, match=r"no split 'dev'; expected one of train, val"):
        open_source("davis2016", "dev", "x")
    with pytest.raises(InputError, match=r"no option 'size'; .* of flow, instances, r"):
        open_source("davis2016", "train", "x", size=3)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        open_source("davis2016", "train", tmp_path / "nowhere")


def test_a_root_one_level_off_is_put_right(tmp_path):
    layouts.davis2016(tmp_path / "DAVIS")
    for wrong in (tmp_path, tmp_path / "DAVIS" / "JPEGImages"):
        with pytest.raises(InputError, match=r"hand in \S*/DAVIS\.$"):
            open_source("davis2016", "train", wrong)


def test_a_resolution_that_is_not_there_shows_those_that_are(tmp_path):
    layouts.davis2016(tmp_path)
    with pytest.raises(InputError, match=r"JPEGImages holds 480p"):
        open_source("davis2016", "train", tmp_path, resolution="1080p")


def test_frames_at_30_a_second_are_asked_for(tmp_path):
    layouts.youtube_vos(tmp_path)
    shutil.rmtree(tmp_path / "train_all_frames")
    with pytest.raises(InputError, match=r"or set all_frames=False"):
        open_source("youtube_vos", "train", tmp_path)


@pytest.mark.parametrize("what", ["image", "annotation", "flow"])
def test_a_file_of_another_size_is_named_with_both_sizes(tmp_path, what):
    options = layouts.davis2017(tmp_path)
    wrong = np.zeros((5, 7), np.uint8)
    files = {
        "image": ("JPEGImages/480p/cows/00001.jpg", images.encode_jpeg),
        "annotation": ("Annotations/480p/cows/00001.png", images.encode_ids),
        "flow": ("flow/cows/00001.png", None),
    }
    file, encode = files[what]
    if what == "image":
        wrong = np.zeros((5, 7, 3), np.uint8)
    if encode:
        (tmp_path / file).write_bytes(encode(wrong))
    else:
        flow = np.zeros((5, 7, 2), np.float32)
        layouts.write_flow(tmp_path / file, flow, to="kitti")
    source = open_source("davis2017", "val", tmp_path, **options)
    source[0]
    with pytest.raises(InputError, match=rf"{file}: .*(5x7.*12x20|7x5.*20x12)"):
        source[1]


def test_the_checker_names_every_file_that_is_wrong(tmp_path):
    layouts.davis2017(tmp_path)
    (tmp_path / "Annotations/480p/bear/00002.png").unlink()
    (tmp_path / "JPEGImages/480p/dogs-jump/00001.jpg").write_bytes(b"no image")
    small = images.encode_ids(np.ones((3, 4), np.uint8))
    (tmp_path / "Annotations/480p/dogs-jump/00003.png").write_bytes(small)
    problems = check("davis2017", "train", tmp_path)
    for problem, expected in zip(
        problems,
        ["holds 2 sequences.*expected 60", "bear/00002.jpg: has no annotation",
         "dogs-jump/00001.jpg: cannot be read", "jump/00003.png: is of 3x4.*12x20"],
        strict=True,
    ):  # fmt: skip
        assert re.search(expected, problem), problem
    capped = check("davis2017", "train", tmp_path, max_problems=2)
    assert len(capped) == 3 and capped[-1].startswith("... and more")


def test_the_checker_of_coco_finds_all_there_is_in_the_file(tmp_path):
    layouts.coco(tmp_path)
    file = tmp_path / "annotations/instances_val2017.json"
    data = layouts.coco_json()
    data["images"].append({**data["images"][0], "file_name": "../x.jpg"})
    data["annotations"] += [
        {**data["annotations"][0], "image_id": 77},
        {**data["annotations"][0], "id": 5, "category_id": 13},
        {**data["annotations"][0], "id": "5"},
        {**data["annotations"][0], "id": 6, "iscrowd": "no"},
        {**data["annotations"][0], "id": 7, "segmentation": []},
    ]
    file.write_text(json.dumps(data))
    problems = "\n".join(check("coco", "val", tmp_path))
    for expected in (
        "'../x.jpg' is not a plain path", "image 9 is listed twice",
        "annotation 1038 is listed twice", "annotation 1038 is of image 77",
        "annotation 5 is of category 13", "id of annotation '5'",
        "annotation 6: iscrowd is 'no'", "annotation 7 has no segmentation",
    ):  # fmt: skip
        assert expected in problems
    with pytest.raises(InputError, match=str(file)):
        open_source("coco", "val", tmp_path)


def test_own_photographs_in_the_layout_of_coco_may_be_of_any_number(tmp_path):
    layouts.coco(tmp_path)
    file = tmp_path / "annotations/instances_train2017.json"
    data = layouts.coco_json()
    for image in data["images"]:
        taken = tmp_path / "train2017" / image["file_name"]
        image["file_name"] = f"holiday {image['id']}.jpg"
        taken.rename(taken.with_name(image["file_name"]))
    file.write_text(json.dumps(data))
    assert check("coco", "train", tmp_path, thorough=True) == []


def test_the_checker_of_coco_finds_missing_images_and_bad_polygons(tmp_path):
    layouts.coco(tmp_path)
    (tmp_path / "val2017/000000000025.jpg").unlink()
    file = tmp_path / "annotations/instances_val2017.json"
    data = layouts.coco_json()
    data["annotations"][0]["segmentation"] = [[1, 2, 3]]
    file.write_text(json.dumps(data))
    problems = check("coco", "val", tmp_path, thorough=True)
    assert any("000000000025.jpg: cannot be read" in problem for problem in problems)
    assert any("annotation 1038: polygon 0 is" in problem for problem in problems)
    with pytest.raises(InputError, match=r"annotation 1038: polygon 0"):
        open_source("coco", "val", tmp_path)[0]


def test_a_symbolic_link_out_of_the_folder_is_refused(tmp_path):
    layouts.coco(tmp_path)
    secret = layouts.write(tmp_path.parent / "secret.jpg", b"x")
    image = tmp_path / "val2017/000000000025.jpg"
    image.unlink()
    image.symlink_to(secret)
    with pytest.raises(InputError, match=r"leads out of"):
        open_source("coco", "val", tmp_path)


def test_a_json_that_is_too_large_names_the_option(tmp_path):
    layouts.coco(tmp_path)
    with pytest.raises(InputError, match="max_json_bytes"):
        open_source("coco", "val", tmp_path, max_json_bytes=100)


# Flow that does not fit -----------------------------------------------------------


def flow_folder(root, stems):
    layouts.write_flow_folder(root / "a clip", [*stems, ""])
    layouts.write_flow_folder(root / "b", [f"{i:05d}" for i in range(4)])
    return root


@pytest.mark.parametrize("stems, message", [
    (["frame_0", "frame_1"], "00000.jpg: has no flow.*/frame_0.flo to frame_1.flo"),
    (["00000", "00002"], "00001.jpg: has no flow, and is not the last"),
    (["00001", "00002", "00003"], "00003.jpg: is the last .*numbered from 1[?]"),
    ([], "00000.jpg: has no flow.* Found none"),
])  # fmt: skip
def test_flow_whose_names_do_not_fit_is_refused(tmp_path, stems, message):
    layouts.folder(tmp_path)
    flow = flow_folder(tmp_path / "estimated", stems)
    with pytest.raises(InputError, match=message):
        open_source("folder", "all", tmp_path, flow=flow)
    (problem,) = check("folder", "all", tmp_path, flow=flow)
    assert re.search(message, problem)


def test_flow_of_the_last_frame_is_left_out_and_hidden_files_do_not_matter(tmp_path):
    layouts.folder(tmp_path)
    flow = flow_folder(tmp_path / "estimated", [f"{i:05d}" for i in range(4)])
    layouts.write(flow / "a clip" / "._00001.png", b"junk")
    source = open_source("folder", "all", tmp_path, flow=flow)
    assert source.has_flow == [True, True, True, False, True, True]


def test_two_flow_files_of_one_frame_are_refused(tmp_path):
    layouts.folder(tmp_path)
    layouts.write_flow_folder(tmp_path / "Flow/b", ["00000", ""], ".png")
    with pytest.raises(InputError, match=r"00000.png: is the same frame as 00000.flo"):
        open_source("folder", "all", tmp_path)


def test_the_thorough_checker_reads_flow(tmp_path):
    layouts.folder(tmp_path)
    file = tmp_path / "Flow/b/00002.flo"
    file.write_bytes(file.read_bytes()[:-1])
    assert check("folder", "all", tmp_path) == []
    (problem,) = check("folder", "all", tmp_path, thorough=True)
    assert problem.startswith(f"{file}: ")


def test_flow_for_a_prepared_folder_is_refused(tmp_path):
    layouts.folder(tmp_path / "set")
    prepare("folder", tmp_path / "set", tmp_path, progress=False)
    with pytest.raises(InputError, match=r"is prepared, with .* has no effect"):
        open_source("folder", "all", tmp_path, flow=tmp_path / "set/Flow")
    assert any(open_source("folder", "all", tmp_path, flow=None).has_flow)


# Objects that move as one ----------------------------------------------------------


def test_objects_that_move_as_one_are_joined(tmp_path):
    layouts.folder(tmp_path)
    file = layouts.write(
        tmp_path / "joins.json",
        '{"clips": {"a clip": {"joined": [[2, 1]]}, "b": {"joined": []}}}',
    )
    source = open_source("folder", "all", tmp_path, join=str(file))
    for i in range(4):
        example = source[i]
        assert example.ids.tolist() == [2] and len(example.classes) == 1
        assert_array_equal(example.masks[0], layouts.truth(i) > 0)
    assert source[4].ids.tolist() == [1, 2]
    rendered = open_source("rendered", "all", tmp_path, join=file)
    assert rendered[0].ids.tolist() == [2] and rendered[4].ids.tolist() == [1, 2]
    file.write_text('{"clips": {"b": {"joined": []}}}')
    with pytest.raises(InputError, match='"clips" has no a clip'):
        open_source("folder", "all", tmp_path, join=file)


def test_what_is_joined_moves_if_one_of_it_does_and_void_stays_apart():
    rng = np.random.default_rng(0)
    plain = Objects(
        masks=rng.random((5, 3, 4)) < 0.5,
        classes=np.array([0, 3, 1, 2, 4], np.int32),
        ids=np.array([1, 4, 5, 7, 4], np.int32),
        ignore=np.array([False, False, False, False, True]),
        moving=np.array([False, False, True, False, True]),
    )
    joined = join_objects(plain, [[4, 9, 5]])
    assert joined.ids.tolist() == [1, 4, 7, 4]
    assert joined.ignore.tolist() == [False, False, False, True]
    assert joined.moving.tolist() == [False, True, False, True]
    assert joined.classes.tolist() == [0, 3, 2, 4]
    assert_array_equal(joined.masks[1], plain.masks[1] | plain.masks[2])
    for new, old in ((0, 0), (2, 3), (3, 4)):
        assert_array_equal(joined.masks[new], plain.masks[old])
    empty = Objects(*(getattr(plain, f.name)[:0] for f in dataclasses.fields(plain)))
    assert join_objects(empty, [[1, 2]]).masks.shape == (0, 3, 4)


# What 255 means -------------------------------------------------------------------


def binary(root, layout, folder):
    layout(root)
    for file in (root / folder).glob("*/*.png"):
        ids = images.read_ids(file)
        file.write_bytes(images.encode_ids(np.where(ids, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("name, layout, folder, count", [
    ("davis2017", layouts.davis2017, "Annotations/480p", 2),
    ("youtube_vos", layouts.youtube_vos, "train/Annotations", 2),
])  # fmt: skip
def test_masks_of_0_and_255_are_no_numbered_objects(
    tmp_path, name, layout, folder, count
):
    binary(tmp_path, layout, folder)
    source = open_source(name, "train", tmp_path)
    with pytest.raises(InputError, match=r"no other values than 0 and 255.*davis2016"):
        source[1]
    problems = check(name, "train", tmp_path, thorough=True)
    assert sum("no other values" in problem for problem in problems) == count


@pytest.mark.parametrize("name", ["davis2016", "davis2016 instances", "folder"])
def test_a_frame_of_void_only_is_void_where_others_have_numbers(tmp_path, name):
    if name == "folder":
        layouts.folder(tmp_path)
        annotations, options = tmp_path / "Annotations/a clip", {}
    else:
        layouts.davis2017(tmp_path, [("train", ("bear",))])
        layouts.write(tmp_path / "ImageSets/480p/train.txt", "bear")
        annotations = tmp_path / "Annotations/480p/bear"
        options = {"instances": "instances" in name}
    void = np.where(layouts.truth(1) == 2, 255, 0).astype(np.uint8)
    (annotations / "00001.png").write_bytes(images.encode_ids(void))
    name = name.split()[0]
    split = "all" if name == "folder" else "train"
    example = open_source(name, split, tmp_path, **options)[1]
    assert example.ids.tolist() == [255] and example.ignore.tolist() == [True]
    assert_array_equal(example.masks[0], void > 0)


def test_two_annotations_of_one_frame_are_refused(tmp_path):
    layouts.folder(tmp_path)
    annotations = tmp_path / "Annotations/b"
    shutil.copy(annotations / "00002.png", annotations / "00002.bmp")
    with pytest.raises(InputError, match=r"00002.png: is the same frame as 00002.bmp"):
        open_source("folder", "all", tmp_path)


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("moves", [100, 255])
def test_void_of_flyingthings3d_is_ignored_with_or_without_indices(
    tmp_path, moves, indexed
):
    layouts.flyingthings3d(tmp_path, [("TEST", "C")])
    labels = np.full(layouts.SIZE, moves, np.uint8)  # No 0 anywhere.
    if moves == 100:
        labels[:, 15:] = 255
    file = tmp_path / "motion_labels/TEST/C/0000/left/0006.png"
    file.write_bytes(images.encode_png(labels))
    example = open_source(
        "flyingthings3d", "test", tmp_path, object_index=indexed
    )[0]  # fmt: skip
    void = labels == 255 if moves == 100 else labels == 0
    expected = void | (layouts.truth(0) > 0) if indexed else void  # Two slivers.
    assert len(set(example.ids.tolist())) == len(example.ids)
    assert_array_equal(example.masks.any(axis=0), np.ones(layouts.SIZE, bool))
    ignored = example.masks[example.ignore].any(axis=0)
    assert_array_equal(ignored, expected)


def as_red(ids):
    return np.stack([ids, 255 - ids, 0 * ids], axis=-1)


@pytest.mark.parametrize(
    ("encode", "numbers"),
    [
        (images.encode_png, (0, 80, 160)),
        (lambda ids: images.encode_png(ids.astype(np.uint16)), (0, 80, 160)),
        (lambda ids: images.encode_png(ids.astype(np.uint16) * 300), (0, 24000, 48000)),
        (lambda ids: images.encode_ids(ids // 80), (0, 1, 2)),
        (lambda ids: images.encode_png(as_red(ids)), (0, 80, 160)),
    ],
    ids=["grey", "small numbers of 16 bits", "16 bits", "palette", "colour"],
)
def test_labels_of_fbms_3d_are_read_from_each_kind_of_image(encode, numbers, tmp_path):
    ids = layouts.truth(0) * np.uint8(80)
    file = layouts.write(tmp_path / "1_gt.png", encode(ids))
    objects = fbms.RegionImage(file).read(layouts.SIZE)
    assert objects.ids.tolist() == [*numbers[1:]]
    for mask, number in zip(objects.masks, (1, 2), strict=True):
        assert_array_equal(mask, layouts.truth(0) == number)


def test_colours_of_fbms_3d_that_red_does_not_tell_apart_are_refused(tmp_path):
    rgb = as_red(layouts.truth(0) * np.uint8(80))
    rgb[:3, :, 1] = 0
    file = layouts.write(tmp_path / "1_gt.png", images.encode_png(rgb))
    with pytest.raises(InputError, match="colours of equal red"):
        fbms.RegionImage(file).read(layouts.SIZE)
    layouts.write(file, images.encode_deep_rgb(rgb.astype(np.uint16)))
    with pytest.raises(InputError, match="16 bits"):
        fbms.RegionImage(file).read(layouts.SIZE)


def test_frames_of_fbms_3d_have_a_number_each(tmp_path):
    layouts.fbms(tmp_path)
    video = tmp_path / "TestSet/tennis"
    shutil.copy(video / "tennis454.jpg", video / "cover.jpg")
    truth = video / "GroundTruth"
    shutil.copy(truth / "454_gt.png", truth / "mask_gt.png")
    with pytest.raises(InputError, match=r"mask_gt.png: no frame .* has its number"):
        open_source("fbms_3d", "test", tmp_path)
    (truth / "mask_gt.png").unlink()
    assert len(open_source("fbms_3d", "test", tmp_path)) == 2
    shutil.copy(video / "tennis454.jpg", video / "a0454.jpg")
    with pytest.raises(InputError, match=r"number 454 of a0454.jpg"):
        open_source("fbms_3d", "test", tmp_path)


# Options as text ------------------------------------------------------------------


@pytest.mark.parametrize("name, key, text, value", [
    ("coco", "empty", "False", False),
    ("coco", "max_json_bytes", "1000", 1000),
    ("coco", "unlabelled", "ignore", "ignore"),
    ("davis2016", "instances", "True", True),
    ("davis2016", "instances", "a/b", Path("a/b")),
    ("davis2016", "resolution", "270", "270"),
    ("davis2016", "resolution", "True", "True"),
    ("davis2016", "flow", "None", None),
    ("flyingthings3d", "flow", "true", "true"),
    ("flyingthings3d", "flow", "x", Path("x")),
])  # fmt: skip
def test_options_may_be_text(name, key, text, value):
    layout = open_layout(name, "train", "x", **{key: text})
    assert getattr(layout, key) == value and type(getattr(layout, key)) is type(value)


@pytest.mark.parametrize("name, key, text, expected", [
    ("coco", "empty", "1", "expected True or False"),
    ("coco", "max_json_bytes", "1e3", "expected a number"),
    ("coco", "unlabelled", "no", "expected 'background' or 'ignore'"),
])  # fmt: skip
def test_text_that_is_no_value_of_an_option_lists_the_values(name, key, text, expected):
    with pytest.raises(InputError, match=rf"option {key} is '{text}', {expected}"):
        open_layout(name, "train", "x", **{key: text})


# Real data ---------------------------------------------------------------------------


@needs(DAVIS)
def test_the_real_davis_2016_is_read():
    root = outside(DAVIS)
    source = open_source("davis2016", "train", root, resolution="270p")
    assert len(source) == 2079 and len(source.sequences) == 30
    assert set(source.sizes) == {(270, 480)}
    example = source[source.sequences["dog-agility"][3]]
    assert example.masks.shape == (1, 270, 480) and 0 < example.masks.mean() < 0.5


@needs(DAVIS, COCO)
@pytest.mark.slow
def test_the_checker_finds_nothing_wrong_in_real_data():
    root = outside(DAVIS)
    options = {"resolution": "270p", "thorough": True}
    assert check("davis2016", "train", root, **options) == []
    for split in ("train", "one_person_only"):
        assert check("coco", split, outside(COCO), thorough=True) == []


@needs(COCO)
def test_the_real_coco_is_read():
    root = outside(COCO)
    source = open_source("coco_classes", "train", root)
    assert len(source) == 519 and len(source.classes) == 80
    examples = [source[i] for i in range(0, 519, 20)]
    assert max(example.classes.max(initial=0) for example in examples) < 80
    persons = open_source("coco", "one_person_only", root, unlabelled="ignore")
    assert len(persons) == 984
    for i in range(0, 984, 300):
        assert persons[i].ignore.tolist() == [False, True]
        assert_array_equal(persons[i].masks[0], ~persons[i].masks[1])


@needs(BEAR)
def test_real_labels_of_fbms_are_read(tmp_path):
    """With the Def.dat, which lacks there, and frames of nothing."""
    sequence = tmp_path / "TrainingSet" / "bear01"
    numbers = (1, 20, 40, 60, 80, 100)
    for number in range(1, 101):
        blank = np.zeros((540, 960, 3), np.uint8)
        file = sequence / f"bear01_{number:04d}.jpg"
        if number == 1:
            first = layouts.write(file, images.encode_jpeg(blank))
        else:
            os.link(first, file)
    head = layouts.DEFINITION.split("Total number of frames")[0]
    head = head.replace("Scale of region 2:\n16711680\n", "").replace("\n3\n", "\n2\n")
    head = head.replace("0 1 1\n1 0 1\n1 1 0", "0 1\n1 0")
    text = head + "Total number of frames in this shot:\n100\n"
    text += "Total number of labeled frames for this shot:\n6\n"
    for number in numbers:
        name = f"bear01_{number:04d}"
        text += f"Frame number:\n{number - 1}\nFile name:\n{name}_gt.ppm\n"
        text += f"Input file name:\n{name}.ppm\n"
        labels = outside(BEAR) / f"{name}_gt.ppm"
        layouts.write(sequence / "GroundTruth" / labels.name, labels.read_bytes())
    layouts.write(sequence / "GroundTruth" / "bear01Def.dat", text)
    source = open_source("fbms", "train", tmp_path)
    areas = [int(source[i].masks.sum()) for i in range(6)]
    assert areas == [16898, 36541, 60388, 50367, 39844, 25678]


def test_every_layout_is_a_frozen_dataclass_that_lists_its_splits():
    for kind in LAYOUTS.values():
        assert dataclasses.is_dataclass(kind) and kind.splits
