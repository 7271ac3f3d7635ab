"""`movseg detect` on data sets, and what `movseg eval` measures of its files."""

import json
import shutil

import numpy as np
import pytest

from movseg_jax import images, masks
from movseg_jax.cli import app
from movseg_jax.errors import InputError, InputNote
from movseg_jax.evaluation.coco import evaluate_coco
from movseg_jax.evaluation.detection_files import read_detections, to_rows
from movseg_jax.evaluation.evaluate import Request, evaluate
from movseg_jax.evaluation.reporting import to_text
from movseg_jax.evaluation.results import summarise
from movseg_jax.flow.files import write_flow
from movseg_jax.metrics.overlaps import ImageDetections
from movseg_jax.system import process
from tests.fakes import layouts
from tests.fakes.square_detector import RED, SIZE, make_detector, scene, square_mask

VIDEOS = ("bear", "cows")  # Neither is one that DAVIS considers stable.
FRAMES = 3


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """DAVIS 2016 whose videos show a square that moves, and a red one that rests."""
    root = tmp_path_factory.mktemp("davis")
    for name in VIDEOS:
        for i, image in enumerate(scene(FRAMES)):
            image[36:46, 2:12] = RED
            ids = np.where(square_mask(i), 255, 0).astype(np.uint8)
            file = f"480p/{name}/{i:05d}.png"
            layouts.write(root / "JPEGImages" / file, images.encode_png(image))
            layouts.write(root / "Annotations" / file, images.encode_ids(ids))
    layouts.write(root / "ImageSets" / "480p" / "val.txt", "\n".join(VIDEOS))
    return root


@pytest.fixture
def batches(monkeypatch):
    """Sizes of the batches that the command's detector is given.

    It finds white squares, and red ones in its static branch. `batches.stop_after` is
    the number of batches after which the process is killed.
    """

    class Batches(list):
        stop_after = None

        def add(self):
            if len(self) == self.stop_after:
                raise KeyboardInterrupt
            self.append(1)

    batches = Batches()
    monkeypatch.setattr(process, "prepare_jax", lambda: None)
    monkeypatch.setattr(
        "movseg_jax.model.loading.load_detector",
        lambda *_, static=True, **__: make_detector(batches.add, static_branch=static),
    )
    return batches


def detect(root, out, *options):
    words = ["--dataset", "davis2016", "--split", "val", "--data-dir", root, "--quiet"]
    return app.main(["detect", *map(str, [*words, "--out", out, *options])])


def measure(root, pred, protocol="detection", **options):
    if protocol == "detection":
        options = {"dataset": "davis2016", "split": "val"} | options
    request = Request(protocol, pred, root, draws=0, workers=1, **options)
    return summarise(evaluate(request))


def values(results):
    return {name: value.value for name, value in results.values.items()}


# Detecting -------------------------------------------------------------------------


def test_moving_and_static_objects_are_results_of_coco_apart(davis, batches, tmp_path):
    out = tmp_path / "found.json"
    assert detect(davis, out) == 0
    moving = json.loads(out.read_text())
    static = json.loads((tmp_path / "found_static.json").read_text())
    listed = json.loads((tmp_path / "found_images.json").read_text())
    assert [image["id"] for image in listed["images"]] == [1, 2, 3, 4, 5, 6]
    # The last frame of a video has no flow: nothing is known to move there.
    assert [row["image_id"] for row in moving] == [1, 2, 4, 5]
    assert [row["image_id"] for row in static] == [n for n in range(1, 7) for _ in "wr"]
    assert moving[1]["bbox"] == [7, 16, 12, 12] and moving[1]["category_id"] == 1
    mask = masks.from_json(moving[1]["segmentation"], SIZE, source="")
    np.testing.assert_array_equal(masks.decode(mask), square_mask(1))
    assert detect(davis, out) == 0 and len(batches) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "found.json", "found_images.json", "found_static.json"
    ]  # fmt: skip


def test_the_static_branch_can_be_left_out(davis, batches, tmp_path):
    assert detect(davis, tmp_path / "found.json", "--no-static") == 0
    assert not (tmp_path / "found_static.json").exists()


def test_a_run_that_was_killed_resumes_after_its_last_video(davis, batches, tmp_path):
    whole, resumed = tmp_path / "whole.json", tmp_path / "resumed.json"
    assert detect(davis, whole) == 0
    batches.clear()
    batches.stop_after = FRAMES + 1
    with pytest.raises(KeyboardInterrupt):
        detect(davis, resumed)
    assert not resumed.exists()
    batches.clear()
    batches.stop_after = None
    assert detect(davis, resumed) == 0 and len(batches) == FRAMES
    for end in ("", "_images", "_static"):
        files = [path.with_name(f"{path.stem}{end}.json") for path in (whole, resumed)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_files_of_other_settings_are_only_replaced_if_asked(
    davis, batches, tmp_path, capsys
):
    out = tmp_path / "found.json"
    assert detect(davis, out, "--sequences", "cows") == 0
    assert detect(davis, out) == 2
    assert "is there already" in capsys.readouterr().err
    assert len(read_detections(out)) == 1
    assert detect(davis, out, "--overwrite") == 0
    assert [*read_detections(out)] == ["bear", "cows"]


@pytest.mark.parametrize("finished", [True, False])
def test_detections_made_with_other_flow_or_data_are_not_reused(
    finished, davis, batches, tmp_path, capsys
):
    """Whether these are all there, or a run was killed after a video."""
    out, copy = tmp_path / "found.json", tmp_path / "copy"
    shutil.copytree(davis, copy)
    flows = [tmp_path / "right", tmp_path / "left"]
    for folder, x in zip(flows, (3, -3), strict=True):
        for name, i in np.ndindex(len(VIDEOS), FRAMES - 1):
            (folder / VIDEOS[name]).mkdir(parents=True, exist_ok=True)
            flow = np.full((*SIZE, 2), (x, 0), np.float32)
            write_flow(folder / VIDEOS[name] / f"{i:05d}.flo", flow)
    if finished:
        assert detect(davis, out, "--flow", flows[0]) == 0
    else:
        batches.stop_after = FRAMES + 1
        with pytest.raises(KeyboardInterrupt):
            detect(davis, out, "--flow", flows[0])
        batches.stop_after = None
    capsys.readouterr()
    for root, flow in ((davis, flows[1]), (copy, flows[0])):
        assert detect(root, out, "--flow", flow) == 2
        said = capsys.readouterr().err
        assert "_folder was " in said and "--overwrite" in said
    assert detect(davis, out) == 2  # Nor are they those with estimated flow.
    batches.clear()
    again = tmp_path / "right" / ".." / "right"
    assert detect(davis, out, "--flow", again) == 0
    assert len(batches) == (0 if finished else FRAMES)
    assert detect(davis, out, "--flow", flows[1], "--overwrite") == 0


def test_images_have_the_numbers_of_coco(batches, tmp_path):
    layouts.coco(tmp_path / "coco")
    words = ["--dataset", "coco", "--split", "val", "--data-dir", tmp_path / "coco"]
    words += ["--out", tmp_path / "found.json", "--quiet"]
    assert app.main(["detect", *map(str, words)]) == 0
    truth = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    expected = {row["id"] for row in json.loads(truth.read_text())["images"]}
    listed = json.loads((tmp_path / "found_images.json").read_text())["images"]
    assert {row["id"] for row in listed} == expected


def test_a_partial_copy_is_detected_in_and_measured_if_that_is_allowed(
    davis, batches, tmp_path, capsys
):
    part, out = tmp_path / "davis", tmp_path / "found.json"
    shutil.copytree(davis, part)
    shutil.rmtree(part / "JPEGImages" / "480p" / "bear")
    assert detect(part, out) == 2
    assert detect(part, out, "--allow-missing") == 0
    assert "1 of 2 sequences of val are missing" in capsys.readouterr().err
    assert [*read_detections(out)] == ["cows"]
    with pytest.raises(InputError, match="not found"):
        measure(part, out)
    with pytest.warns(InputNote, match="1 of 2 sequences"):
        results = measure(part, out, allow_missing=True)
    assert "Only a part: 1 of 2 sequences." in to_text(results)


# Measuring -------------------------------------------------------------------------


def test_what_is_found_everywhere_but_in_last_frames_is_perfect(
    davis, batches, tmp_path
):
    detect(davis, tmp_path / "found.json")
    results = measure(davis, tmp_path / "found.json")
    numbers = values(results)
    assert numbers["box_ap50"] == numbers["mask_ap50"] == 1
    assert "all that move are one in each frame" in to_text(results)
    # What the static branch finds has a file of its own.
    assert values(measure(davis, tmp_path / "found_static.json"))["box_ap50"] == 1


def write_random(out, davis, seed=0, least=0.0):
    """A file of random detections in the frames of `davis`; returns COCO's truth.

    Scores below 0 become 0 where `least`, the least score, is negative.
    """
    rng = np.random.default_rng(seed)
    rows, listed, truth = [], [], []
    for number, (name, i) in enumerate(np.ndindex(len(VIDEOS), FRAMES), 1):
        size = {"height": SIZE[0], "width": SIZE[1]}
        image = {"id": number, "video": VIDEOS[name], "frame": f"{i:05d}", **size}
        listed.append(image)
        rles, boxes = [], []
        for shift in rng.integers(-5, 6, 8):
            mask = np.roll(square_mask(i), shift, axis=(0, 1))
            rles.append(masks.encode(mask))
            boxes.append(masks.tight_box(mask) + rng.normal(0, 1, 4))
        found = ImageDetections(
            np.maximum(rng.uniform(least, 1, 8), 0),
            rng.integers(0, 3, 8),
            np.array(boxes),
            rles,
        )
        rows += to_rows(number, found)
        if i < FRAMES - 1:
            mask = masks.to_json(masks.encode(square_mask(i)))
            truth.append({"id": number, "image_id": number, "category_id": 1,
                          "iscrowd": 0, "segmentation": mask})  # fmt: skip
    out.write_text(json.dumps(rows))
    out.with_name(f"{out.stem}_images.json").write_text(json.dumps({"images": listed}))
    measured = [image for image in listed if image["frame"] != f"{FRAMES - 1:05d}"]
    numbers = {image["id"] for image in measured}
    rows = [row for row in rows if row["image_id"] in numbers]
    categories = [{"id": 1, "name": "object"}]
    return rows, {"images": measured, "annotations": truth, "categories": categories}


@pytest.mark.parametrize("least", [0.0, -1.0])
def test_average_precision_is_that_of_coco_with_all_classes_as_one(
    least, davis, tmp_path
):
    out = tmp_path / "found.json"
    rows, truth = write_random(out, davis, least=least)
    expected = evaluate_coco(rows, truth, stacked=True)
    numbers = values(measure(davis, out))
    assert 0 < numbers["box_ap"] != numbers["mask_ap"] > 0
    for name, value in numbers.items():
        assert value == pytest.approx(expected[name], abs=1e-12), name


def test_the_foreground_of_davis_is_the_union_of_confident_masks(davis, tmp_path):
    rows, _ = write_random(tmp_path / "found.json", davis)
    for video, name in enumerate(VIDEOS):
        for i in range(FRAMES):
            union = np.zeros(SIZE, bool)
            for row in rows:
                if row["image_id"] == FRAMES * video + i + 1 and row["score"] > 0.7:
                    rle = masks.from_json(row["segmentation"], SIZE, source="")
                    union |= masks.decode(rle)
            picture = np.where(union, 255, 0).astype(np.uint8)
            file = tmp_path / "masks" / name / f"{i:05d}.png"
            layouts.write(file, images.encode_ids(picture))
    found = values(measure(davis, tmp_path / "found.json", "davis16"))
    assert found == values(measure(davis, tmp_path / "masks", "davis16"))
    assert 0 < found["J-mean"] < 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda out: out.with_name("found_images.json").unlink(), "is missing"),
        (lambda out: out.write_text("[{}]"), "category_id is None"),
        (lambda out: out.write_text('[{"category_id": 1, "image_id": 99}]'), "99"),
        (lambda out: out.write_text("["), "found.json"),
        (lambda out: out.with_name("found_images.json").write_text("[]"), "images"),
    ],
)
def test_damaged_files_are_input_errors(damage, words, davis, tmp_path):
    write_random(tmp_path / "found.json", davis)
    damage(tmp_path / "found.json")
    with pytest.raises(InputError, match=words):
        measure(davis, tmp_path / "found.json")


def test_missing_frames_and_protocols_of_tracks_are_refused(davis, tmp_path):
    out = tmp_path / "found.json"
    write_random(out, davis)
    with pytest.raises(InputError, match="measures a folder of tracks"):
        measure(davis, out, "davis17-moving")
    listing = out.with_name("found_images.json")
    listed = json.loads(listing.read_text())["images"]
    listing.write_text(json.dumps({"images": listed[1:]}))
    out.write_text("[]")
    with pytest.raises(InputError, match="00000"):
        measure(davis, out)
