"""Evaluating folders of predictions: by every protocol, in every format, or refused."""

import dataclasses
import itertools
import json
import math
import re
import shutil
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from movseg_jax import images, masks
from movseg_jax.data.frames import IdImage
from movseg_jax.errors import InputError
from movseg_jax.evaluation.bootstrap import intervals
from movseg_jax.evaluation.evaluate import Request, evaluate
from movseg_jax.evaluation.matching import (
    BY_ANNOTATED,
    BY_NAME,
    BY_POSITION,
    match_frames,
)
from movseg_jax.evaluation.metrics_page import make_page
from movseg_jax.evaluation.predictions import Survey
from movseg_jax.evaluation.protocols import Protocol, Settings
from movseg_jax.evaluation.reporting import to_text
from movseg_jax.evaluation.results import notes, summarise, to_json, worst_frames
from movseg_jax.evaluation.truth import TruthFrame, TruthSequence
from movseg_jax.formats.conversion import FORMATS, write_tracks
from movseg_jax.formats.pictures import sightings_of
from movseg_jax.formats.survey import paint
from movseg_jax.results import TrackedFrame
from movseg_jax.system.notes import notes_kept
from tests.fakes import layouts
from tests.outside import needs, outside

DAVIS = ("blackswan", "bmx-trees")  # Of which DAVIS takes the first for stable.
YTVOS = ("0248626d9a", "04474174a4")
HOSTILE = "</td><img src=x onerror=alert(1)>&\"'"


# Data sets and predictions ---------------------------------------------------------


def two_folders(root):
    for name in DAVIS:
        for i in range(4):
            ids = images.encode_ids(layouts.truth(i))
            layouts.write(root / name / f"{i:05d}.png", ids)


# Of every protocol: what makes its data set, which sequences, what to ask for.
CASES = {
    "davis16": (
        lambda root: layouts.davis2016(root, [("val", DAVIS)]), DAVIS, {},
    ),
    "davis17-moving": (
        lambda root: layouts.davis2017(root, [("val", DAVIS)]), DAVIS,
        {"sequences": DAVIS},
    ),
    "davis17-unsupervised": (
        lambda root: layouts.davis2017(root, [("val", DAVIS)]), DAVIS, {},
    ),
    "fbms-official": (layouts.fbms, ("tennis",), {}),
    "fbms-proposed": (layouts.fbms, ("tennis",), {}),
    "fbms-3d": (layouts.fbms, ("tennis",), {}),
    "ytvos-moving": (
        lambda root: layouts.youtube_vos(root, YTVOS, count=7), YTVOS,
        {"sequences": YTVOS},
    ),
    "detection": (
        lambda root: layouts.davis2017(root, [("val", DAVIS)]), DAVIS,
        {"dataset": "davis2017", "split": "val"},
    ),
    "masks": (two_folders, DAVIS, {}),
}  # fmt: skip
PERFECT = {
    "davis16": ("J-mean", "J-recall", "F-mean", "F-recall"),
    "davis17-moving": ("precision", "recall", "f_measure"),
    "davis17-unsupervised": (
        "davis17: J&F-mean", "davis17: J-mean", "davis17: F-mean", "davis17: J-recall",
        "tracking: best_j", "tracking: union_f", "tracking: hota", "tracking: idf1",
    ),
    "fbms-official": ("precision", "recall", "f_measure", "density"),
    "fbms-proposed": ("precision", "recall", "f_measure"),
    "fbms-3d": ("precision", "recall", "f_measure"),
    "ytvos-moving": ("precision", "recall", "f_measure"),
    "detection": ("detection: box_ap", "detection: mask_ap", "overlap: object_iou"),
    "masks": (
        "overlap: object_iou", "proposed: f_measure", "davis17: J&F-mean",
        "3d: f_measure", "detection: mask_ap50",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data set of each protocol, made when asked for; and all Requests for it."""
    made = {}

    def get(protocol):
        if protocol not in made:
            root = tmp_path_factory.mktemp(protocol)
            CASES[protocol][0](root / "data")
            made[protocol] = root / "data"
        return made[protocol]

    return get


def ask(protocol, root, pred, **options):
    options = {"workers": 1, "draws": 5, **CASES[protocol][2], **options}
    return Request(protocol=protocol, pred=pred, root=root, **options)


def run(protocol, root, pred, **options):
    return summarise(evaluate(ask(protocol, root, pred, **options)))


def value(results, name):
    return results.values[name].value


def true_tracks(protocol, root, sequence, change=lambda ids: ids):
    """What is true, as the tracks of a prediction: a frame for each of the video."""
    count = {"ytvos-moving": 7}.get(protocol, 5 if protocol.startswith("fbms") else 4)
    names = [f"{i:05d}" for i in range(count)]
    if protocol.startswith("fbms"):
        names = [f"tennis{454 + i}" for i in range(count)]
    return [
        TrackedFrame(
            name, layouts.SIZE, None, sightings_of(change(layouts.truth(i)).astype(int))
        )
        for i, name in enumerate(names)
    ]


def write_predictions(protocol, root, pred, to="masks", change=lambda ids: ids):
    for sequence in CASES[protocol][1]:
        tracks = true_tracks(protocol, root, sequence, change)
        if to == "masks":  # `write_tracks` waits for the disk after every file.
            for frame in tracks:
                ids = images.encode_ids(paint(frame).astype(np.uint8))
                layouts.write(pred / sequence / f"{frame.name}.png", ids)
            continue
        write_tracks(tracks, pred / f"{sequence}{FORMATS[to].suffix}", to=to)
    return pred


@pytest.fixture
def case(data, tmp_path):
    """Predictions for DAVIS 2017 that are true, and the Request to measure them."""

    def make(protocol="davis17-unsupervised", **how):
        pred = write_predictions(protocol, data(protocol), tmp_path / "pred", **how)
        return data(protocol), pred

    return make


# The truth as prediction -----------------------------------------------------------


@pytest.mark.parametrize("protocol", CASES)
def test_the_truth_as_prediction_is_perfect(protocol, case):
    root, pred = case(protocol)
    results = run(protocol, root, pred)
    for name in PERFECT[protocol]:
        assert value(results, name) == 1.0, name
        several = len(CASES[protocol][1]) > 1
        assert results.values[name].interval == ((1.0, 1.0) if several else None)
        for numbers in results.by_sequence.values():
            assert numbers[name] == 1.0


@pytest.mark.parametrize("protocol", CASES)
def test_permuted_ids_give_the_same_bytes(protocol, case, tmp_path):
    def permuted(ids):
        return np.array([0, 7, 3], np.uint8)[ids]

    root, pred = case(protocol)
    other = write_predictions(protocol, root, tmp_path / "other", change=permuted)
    first, second = (to_json(run(protocol, root, p)) for p in (pred, other))
    assert first == second


@pytest.mark.parametrize("protocol", CASES)
def test_every_number_has_a_convention_and_nothing_found_has_numbers(protocol, case):
    root, pred = case(protocol, change=np.zeros_like)
    results = run(protocol, root, pred)
    for group, names in results.metric_sets():
        scores = [scored.scores[group.name] for scored in results.measured.scored]
        metric = group.make(Settings())
        reported = metric.compute(metric.merge(scores))
        # All of them but what PNGs cannot tell, and no others.
        flat = {"overlapping", "contained"} if group.name == "tracking" else set()
        assert reported.keys() == group.numbers.keys() - flat
        assert len(names) == len(reported)
    for found in results.values.values():
        assert len(found.about.text) > 10 and found.about.title
    for name in PERFECT[protocol]:
        # Regions of the background are found, and lonely clusters are precise.
        assert protocol.startswith("fbms") or value(results, name) < 1
    json.loads(to_json(results), parse_constant=pytest.fail)


# Formats, order --------------------------------------------------------------------


@pytest.mark.parametrize("to", ["tracks", "coco", "npz"])
def test_the_format_of_a_prediction_does_not_matter(to, case, tmp_path):
    def wrong(ids):
        return np.roll(ids, 1, axis=0)

    root, pred = case(change=wrong)
    other = write_predictions(
        "davis17-unsupervised", root, tmp_path / "other", to=to, change=wrong
    )
    reports = [
        json.loads(to_json(run("davis17-unsupervised", root, p))) for p in (pred, other)
    ]
    for report in reports:  # What PNGs and .npz cannot tell.
        for numbers in (report, *report["sequences"].values()):
            numbers["numbers"].pop("tracking: overlapping", None)
            numbers["numbers"].pop("tracking: contained", None)
    assert reports[0]["numbers"] == reports[1]["numbers"]
    for name in DAVIS:
        first, second = (report["sequences"][name] for report in reports)
        assert first["prediction_sha256"] == second["prediction_sha256"]
        assert first["truth_sha256"] == second["truth_sha256"]


@pytest.mark.parametrize("protocol", ["fbms-official", "fbms-proposed", "fbms-3d"])
def test_dense_track_files_of_fbms_are_read(protocol, case):
    root, pred = case(protocol, to="fbms")
    results = run(protocol, root, pred)
    assert [value(results, name) for name in PERFECT[protocol]] == [1.0] * len(
        PERFECT[protocol]
    )


def test_trajectories_are_measured_by_the_official_measure_only(case):
    root, pred = case("fbms-official", to="fbms")
    words = (pred / "tennis.dat").read_text().split()
    rows = [words[i : i + 5] for i in range(2, len(words), 5)][::3]
    text = "\n".join([words[0], str(len(rows)), *(" ".join(row) for row in rows)])
    (pred / "tennis.dat").write_text(text)
    results = run("fbms-official", root, pred)
    assert value(results, "precision") == 1.0
    assert 0.2 < value(results, "density") < 0.5
    with pytest.raises(InputError, match="pixels of frame tennis454 have no track"):
        run("fbms-proposed", root, pred)


def test_a_run_of_segment_is_read_and_an_unfinished_one_refused(case):
    root, pred = case(to="tracks")
    for name in DAVIS:  # As `movseg segment --out pred/NAME` has it.
        (pred / name / "masks").mkdir(parents=True)
        (pred / f"{name}.json").rename(pred / name / "tracks.json")
        (pred / name / "overlay.mp4").write_bytes(b"")
    results = run("davis17-unsupervised", root, pred)
    assert value(results, "davis17: J&F-mean") == 1.0
    kinds = {task.prediction.kind for task in results.measured.tasks}
    assert kinds == {"tracks.json"}
    (pred / DAVIS[0] / ".movseg").mkdir()
    with pytest.raises(InputError, match="not finished"):
        run("davis17-unsupervised", root, pred)


def test_repeated_runs_and_other_orders_of_files_give_the_same_bytes(
    case, tmp_path, monkeypatch
):
    root, pred = case("davis16", change=lambda ids: np.roll(ids, 2))
    results = [run("davis16", root, pred) for _ in range(2)]
    other = tmp_path / "copy"
    for file in sorted(pred.rglob("*.png"), reverse=True):
        layouts.write(other / file.relative_to(pred), file.read_bytes())
    plain = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(sorted(plain(self))))
    results.append(run("davis16", root, other))
    assert len({to_json(r) for r in results}) == 1
    assert len({make_page(r, 4) for r in results}) == 1
    assert len({to_text(r) for r in results}) == 1


def test_line_endings_of_text_do_not_matter(data, case, tmp_path):
    root, pred = case("fbms-official", to="tracks")
    before = to_json(run("fbms-official", root, pred))
    copy = tmp_path / "windows"
    shutil.copytree(root, copy)
    for file in (*copy.rglob("*.dat"), *pred.glob("*.json")):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert to_json(run("fbms-official", copy, pred)) == before


def test_nothing_in_a_report_is_of_this_machine(case):
    root, pred = case("davis16")
    results = run("davis16", root, pred)
    for text in (to_json(results).decode(), make_page(results, 3).decode()):
        assert str(root) not in text and str(pred) not in text
        assert not re.search(r"\b202\d-|/tmp|/home", text)


# Oracles ---------------------------------------------------------------------------


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def test_j_is_that_of_loops_over_pixels(data, tmp_path):
    root, rng = data("davis16"), np.random.default_rng(0)
    expected = {}
    for name in DAVIS:
        ious = []
        for i in range(4):
            found = rng.random(layouts.SIZE) < 0.3
            layouts.write(
                tmp_path / name / f"{i:05d}.png",
                images.encode_png(found.astype(np.uint8) * 255),
            )
            true = read(root / "Annotations" / "480p" / name / f"{i:05d}.png")
            both = either = 0
            for y, x in itertools.product(*map(range, layouts.SIZE)):
                both += bool(found[y, x]) and true[y, x] == 255
                either += bool(found[y, x]) or true[y, x] == 255
            ious.append(both / either)
        expected[name] = (ious[1] + ious[2]) / 2  # Without the first and the last.
    results = run("davis16", root, tmp_path, settings=Settings(temporal="off"))
    assert "T-mean" not in results.values
    for name in DAVIS:
        assert math.isclose(results.by_sequence[name]["J-mean"], expected[name])
    mean = sum(expected.values()) / 2
    assert math.isclose(value(results, "J-mean"), mean)


def test_the_paper_s_measure_is_that_of_trying_all_pairs(data, tmp_path):
    root, rng = data("davis17-moving"), np.random.default_rng(1)
    expected = []
    for name in DAVIS:
        pairs = []
        for i in range(4):
            found = np.kron(
                rng.integers(0, 4, (3, 5), np.uint8), np.ones((4, 4), np.uint8)
            )
            file = tmp_path / name / f"{i:05d}.png"
            layouts.write(file, images.encode_ids(found))
            pairs += zip(layouts.truth(i).ravel(), found.ravel(), strict=True)
        pairs = [(int(a), int(b)) for a, b in pairs]

        def overlap(true, track, pairs=pairs):
            return sum(pair == (true, track) for pair in pairs)

        def dice(true, track, pairs=pairs):
            sizes = sum(a == true for a, _ in pairs) + sum(b == track for _, b in pairs)
            return 2 * overlap(true, track) / sizes

        best = max(
            itertools.permutations((1, 2, 3), 2),
            key=lambda chosen: dice(1, chosen[0]) + dice(2, chosen[1]),
        )
        right = overlap(1, best[0]) + overlap(2, best[1])
        precision = right / sum(b > 0 for _, b in pairs)
        recall = right / sum(a > 0 for a, _ in pairs)
        f = 2 * precision * recall / (precision + recall)
        expected.append((precision, recall, f))
    results = run("davis17-moving", root, tmp_path)
    for key, numbers in zip(
        ("precision", "recall", "f_measure"), zip(*expected, strict=True), strict=True
    ):
        assert math.isclose(value(results, key), sum(numbers) / 2)


def test_t_is_measured_where_davis_takes_sequences_for_stable(case):
    root, pred = case("davis16")
    results = run("davis16", root, pred)
    stable, other = (results.by_sequence[name]["T-mean"] for name in DAVIS)
    assert stable >= 0 and math.isnan(other)
    assert value(results, "T-mean") == stable
    found = json.loads(to_json(results))["sequences"]
    assert found[DAVIS[1]]["numbers"]["T-mean"] is None


def test_weights_and_unlisted_colours_are_those_of_the_data_set(data, case):
    root, pred = case("fbms-official")
    wrong = read(pred / "tennis" / "tennis454.png")
    wrong[0] = 2  # Where the first row's weights are a fifth.
    (pred / "tennis" / "tennis454.png").write_bytes(images.encode_ids(wrong))
    weighted = value(run("fbms-official", root, pred), "recall")
    background = 2 * 240 - 2 * (16 + 15) - 2 * 20 * 0.8
    assert math.isclose(weighted, (2 + 1 - 20 * 0.2 / background) / 3)


def test_void_pixels_are_left_out(data, tmp_path):
    for i, (pred, true) in enumerate([(1, 1), (2, 255), (0, 255)]):
        for root, number in ((tmp_path / "p", pred), (tmp_path / "t", true)):
            ids = layouts.truth(i) % 2
            ids[11] = number
            layouts.write(root / "a" / f"{i}.png", images.encode_ids(ids))
    results = run("masks", tmp_path / "t", tmp_path / "p")
    assert value(results, "overlap: object_iou") == 1.0
    assert value(results, "davis17: J-mean") == 1.0


# Refused ---------------------------------------------------------------------------


def refuse(root, pred, *words, protocol="davis17-unsupervised", **options):
    with pytest.raises(InputError) as error:
        evaluate(ask(protocol, root, pred, **options))
    for word in words:
        assert word in str(error.value)
    return str(error.value)


def test_missing_sequences_are_named(case):
    root, pred = case()
    shutil.rmtree(pred / DAVIS[1])
    refuse(root, pred, "1 of 2 sequences are missing", DAVIS[1])
    shutil.rmtree(pred / DAVIS[0])
    refuse(root, pred, "found nothing")
    refuse(root, pred / "none", "cannot be read as a folder")


def test_a_folder_too_high_or_too_low_is_told(case):
    root, pred = case()
    refuse(root, pred.parent, f"hand in {pred}")
    refuse(root, pred / DAVIS[0], f"hand in {pred}")


def test_missing_and_extra_frames_are_named_of_all_sequences(case):
    root, pred = case()
    (pred / DAVIS[0] / "00003.png").unlink()
    (pred / DAVIS[1] / "00000.png").rename(pred / DAVIS[1] / "00005.png")
    message = refuse(root, pred, "00003", "00000", "00005", *DAVIS)
    assert len(message.splitlines()) == 3
    refuse(root, pred, "are missing", allow_extra=True)


def test_extra_sequences_and_frames_can_be_left_out(case):
    root, pred = case()
    (pred / DAVIS[0] / "00009.png").write_bytes(
        (pred / DAVIS[0] / "00003.png").read_bytes()
    )
    shutil.copytree(pred / DAVIS[1], pred / "cows")
    refuse(root, pred, "1 predictions belong to no sequence", "cows")
    results = run("davis17-unsupervised", root, pred, allow_extra=True)
    assert value(results, "davis17: J-mean") == 1.0
    report = json.loads(to_json(results))
    assert report["extra_sequences"] == ["cows"]
    extra = report["sequences"][DAVIS[0]]["extra_frames_not_measured"]
    assert extra == ["00009"]
    assert "Not in the data set, left out: 1 frame and 1 sequence." in to_text(results)


def test_a_part_of_the_sequences_is_said_to_be_one(case):
    root, pred = case()
    results = run("davis17-unsupervised", root, pred, sequences=DAVIS[:1])
    assert "1 of 2 sequences" in to_text(results)
    assert "the official one has 30" in to_text(results)
    assert results.values["davis17: J-mean"].interval is None
    refuse(root, pred, "has no sequences nosuch", sequences=("nosuch",))


@pytest.mark.parametrize("protocol, gone", [("davis16", (0, 3)), ("detection", (3,))])
def test_frames_that_are_not_measured_may_be_missing(protocol, gone, case):
    root, pred = case(protocol)
    for i in gone:
        (pred / DAVIS[0] / f"{i:05d}.png").unlink()
    results = run(protocol, root, pred)
    assert all(value(results, name) == 1.0 for name in PERFECT[protocol])
    report = json.loads(to_json(results))["sequences"][DAVIS[0]]
    assert report["missing_frames_not_measured"] == [f"{i:05d}" for i in gone]
    assert f"Missing, but not measured: {len(gone)} frame" in to_text(results)
    (pred / DAVIS[0] / "00001.png").unlink()
    refuse(root, pred, "00001", protocol=protocol)


def test_another_size_is_refused_for_all_formats(case, tmp_path):
    root, pred = case()
    small = images.encode_ids(layouts.truth(0)[::2, ::2])
    (pred / DAVIS[0] / "00002.png").write_bytes(small)
    refuse(root, pred, "12x20", "00002 is of 6x10")
    shutil.rmtree(pred / DAVIS[0])
    ids = layouts.truth(0)[::2].astype(int)
    tracks = [TrackedFrame(str(i), (6, 20), None, sightings_of(ids)) for i in range(4)]
    write_tracks(tracks, pred / f"{DAVIS[0]}.npz", to="npz")
    refuse(root, pred, "12x20", "6x20")


def test_two_predictions_of_a_sequence_are_refused(case):
    root, pred = case()
    tracks = true_tracks("davis17-unsupervised", root, DAVIS[0])
    write_tracks(tracks, pred / f"{DAVIS[0]}.npz", to="npz")
    refuse(root, pred, "may each be the prediction", f"{DAVIS[0]}.npz")
    (pred / f"{DAVIS[0]}.npz").unlink()
    write_tracks(tracks, pred / DAVIS[0] / "tracks.json", to="tracks")
    refuse(root, pred, "may each be the prediction", "tracks.json")


def test_folders_without_predictions_and_lossy_masks_are_refused(case):
    root, pred = case()
    for file in (pred / DAVIS[0]).iterdir():
        file.unlink()
    refuse(root, pred, "holds neither tracks.json")
    jpeg = images.encode_jpeg(np.zeros((*layouts.SIZE, 3), np.uint8))
    (pred / DAVIS[0] / "00000.jpg").write_bytes(jpeg)
    refuse(root, pred, "00000.jpg: is a mask compressed with loss (JPEG)")


@pytest.mark.parametrize("to", ["masks", "npz"])
def test_foreground_masks_are_recognised_where_ids_are_expected(to, case):
    root, pred = case(change=lambda ids: (ids > 0) * np.uint8(255), to=to)
    message = refuse(root, pred, "is a foreground mask", "davis16", *DAVIS)
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(
    "protocol, options",
    [("davis16", {}), ("detection", {"dataset": "davis2016", "split": "val"})],
)
def test_foreground_masks_will_do_where_there_is_one_object(
    protocol, options, data, tmp_path
):
    root = data("davis16")
    results = run(protocol, root, root / "Annotations" / "480p", **options)
    name = {"davis16": "J-mean", "detection": "detection: mask_ap"}[protocol]
    assert value(results, name) == 1.0


def test_maps_of_probabilities_are_refused(case):
    root, pred = case("davis16")
    soft = np.arange(240, dtype=np.uint8).reshape(layouts.SIZE)
    (pred / DAVIS[0] / "00001.png").write_bytes(images.encode_png(soft))
    refuse(root, pred, "map of probabilities", protocol="davis16")


def test_maps_of_probabilities_are_refused_as_arrays(case):
    soft = np.arange(240, dtype=np.uint8).reshape(layouts.SIZE)
    root, pred = case(change=lambda ids: soft, to="npz")
    refuse(root, pred, "map of probabilities")


@pytest.mark.parametrize("protocol", ["davis16", "davis17-moving"])
@pytest.mark.parametrize("to", ["masks", "npz"])
def test_masks_that_were_resized_are_recognised(to, protocol, case):
    def resized(ids):
        small = np.uint8(255) * (ids > 0)[::3, ::3]
        return cv2.resize(small, ids.shape[::-1], interpolation=cv2.INTER_LINEAR)

    root, pred = case(protocol, change=resized, to=to)
    refuse(root, pred, "after resizing with interpolation", protocol=protocol)


@pytest.mark.parametrize("to", ["masks", "npz"])
def test_void_in_a_prediction_is_no_track(to, case, tmp_path):
    """255 beside other numbers; the results are those without it."""
    root, pred = case()
    expected = run("davis17-unsupervised", root, pred).values
    marked, expected_notes = tmp_path / "marked", []
    for name in DAVIS:
        files = sorted((pred / name).iterdir())
        ids = np.stack([images.read_ids(file) for file in files])
        ids[:, 11] = 255
        if to == "npz":
            layouts.write(marked / f"{name}.npz", b"")
            np.savez(marked / f"{name}.npz", segmentation=ids)
        else:
            for file, frame in zip(files, ids, strict=True):
                layouts.write(marked / name / file.name, images.encode_ids(frame))
        where = marked / (f"{name}.npz" if to == "npz" else name)
        expected_notes.append(
            f"{where}: 255 is read as void, beside other objects' numbers: where it "
            "is, there is no track."
        )
    with notes_kept() as said:
        found = run("davis17-unsupervised", root, marked).values
    assert found == expected and said == expected_notes


def test_files_without_names_are_not_matched_by_name(case):
    """A list of results that begins with the second frame shifts all of them."""
    root, pred = case("davis16")
    for name in DAVIS:
        shutil.rmtree(pred / name)
        tracks = true_tracks("davis16", root, name)[1:]
        write_tracks(tracks, pred / f"{name}.json", to="tracks")
        rows = json.loads((pred / f"{name}.json").read_text())["annotations"]
        rows = [{**row, "score": 1.0} for row in rows]
        (pred / f"{name}.json").write_text(json.dumps(rows))
    refuse(root, pred, "3 frames, the video 4", "no names", protocol="davis16")
    refuse(root, pred, "leave out --match name", protocol="davis16", match="name")


def test_the_unsupervised_challenge_has_its_own_truth(case, tmp_path):
    root, pred = case()
    results = run("davis17-unsupervised", root, pred)
    assert "semi-supervised" in " ".join(notes(results))
    copy = tmp_path / "data"
    shutil.copytree(root, copy)
    (copy / "Annotations").rename(copy / "Annotations_unsupervised")
    other = run("davis17-unsupervised", copy, pred)
    assert "semi-supervised" not in " ".join(notes(other))
    assert other.measured.truth.options["task"] == "unsupervised"
    assert value(other, "davis17: J&F-mean") == value(results, "davis17: J&F-mean")
    # Other protocols of this data set still need the other truth.
    refuse(copy, pred, "Annotations", protocol="davis17-moving", sequences=DAVIS)


def test_damaged_files_are_named_and_measured_by_nobody(case):
    root, pred = case()
    file = pred / DAVIS[0] / "00001.png"
    file.write_bytes(file.read_bytes()[:-60])
    refuse(root, pred, str(file))
    shutil.rmtree(pred / DAVIS[0])
    (pred / f"{DAVIS[0]}.json").write_text('{"videos": [')
    refuse(root, pred, "is not JSON")
    (pred / f"{DAVIS[0]}.json").unlink()
    (pred / f"{DAVIS[0]}.npz").write_bytes(b"PK\3\4")
    refuse(root, pred, "is no whole .npz")


def test_annotations_that_are_missing_are_no_frames_less(case, tmp_path):
    root, pred = case("davis16")
    copy = tmp_path / "data"
    shutil.copytree(root, copy)
    (copy / "Annotations" / "480p" / DAVIS[0] / "00002.png").unlink()
    refuse(copy, pred, "have no annotation", "00002", protocol="davis16")


def test_what_a_measure_refuses_names_the_sequence(case):
    root, pred = case()
    options = {"settings": Settings(max_tracks=1)}
    refuse(root, pred, f"{DAVIS[0]}: Up to frame 00000, 2 tracks", **options)


def test_wrong_settings_are_refused(case):
    root, pred = case("detection")
    refuse(root, pred, "`dataset` is coco", protocol="detection", dataset="coco")
    refuse(root, pred, "`split` is missing", protocol="detection", split=None)
    refuse(root, pred, "`draws` is -1", protocol="detection", draws=-1)
    refuse(root, pred, "`workers` is 999", protocol="detection", workers=999)


def test_youtube_vos_needs_its_annotated_frames_only(data, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data("ytvos-moving"), root)
    tracks = true_tracks("ytvos-moving", root, YTVOS[0])[::5]
    for name in YTVOS:
        write_tracks(tracks, tmp_path / "pred" / f"{name}.npz", to="npz")
    for _ in range(2):  # With all frames at 30 a second, and without.
        results = run("ytvos-moving", root, tmp_path / "pred")
        assert value(results, "f_measure") == 1.0
        rules = {task.matched.rule for task in results.measured.tasks}
        shutil.rmtree(root / "train_all_frames", ignore_errors=True)
    assert rules == {BY_POSITION}  # There are no other frames then.


def test_objects_of_davis_2016_are_those_of_2017_if_asked_for(data, tmp_path):
    root, instances = data("davis16"), data("detection")
    pred = write_predictions("detection", instances, tmp_path / "pred")
    ask_for = {"dataset": "davis2016", "split": "val"}
    one = run("detection", root, pred, **ask_for)
    assert value(one, "overlap: objects") == 2
    assert value(one, "overlap: object_iou") < 1
    ask_for["options"] = {"instances": str(instances)}
    two = run("detection", root, pred, **ask_for)
    assert value(two, "overlap: objects") == 4
    assert value(two, "overlap: object_iou") == 1.0
    assert str(instances) not in to_json(two).decode()


# Two folders -----------------------------------------------------------------------


def test_folders_of_foreground_masks_have_j_and_f(data, tmp_path):
    annotations = data("davis16") / "Annotations" / "480p"
    results = run("masks", annotations, annotations)
    assert {*results.values} == {
        f"{letter}-{what}" for letter in "JF" for what in ("mean", "recall", "decay")
    }
    assert value(results, "J-mean") == value(results, "F-mean") == 1.0


def test_folders_of_ids_can_be_measured_as_foreground(case, tmp_path):
    root, pred = case("masks", change=lambda ids: (ids > 0) * np.uint8(255))
    refuse(root, pred, "is a foreground mask", protocol="masks")
    results = run("masks", root, pred, foreground=True)
    assert value(results, "J-mean") == value(results, "F-mean") == 1.0


def write_folder(folder, clips):
    """PNGs of the clips' frames."""
    for name, frames in clips.items():
        for i, ids in enumerate(frames):
            layouts.write(folder / name / f"{i:05d}.png", images.encode_ids(ids))
    return folder


def test_a_short_clip_of_foreground_masks_is_measured_as_a_whole(tmp_path):
    mask = (layouts.truth(0) > 0) * np.uint8(255)
    clips = {"long": [mask] * 5, "short": [mask, mask], "still": [mask]}
    truth = write_folder(tmp_path / "truth", clips)
    wrong = {**clips, "short": [mask, 0 * mask], "long": [0 * mask, *clips["long"][1:]]}
    results = run("masks", truth, write_folder(tmp_path / "pred", wrong))
    found = {name: own["J-mean"] for name, own in results.by_sequence.items()}
    assert found == {"long": 1, "short": 0.5, "still": 1}
    said = to_text(results)
    assert "short: all its frames, as it has fewer than 3." in said
    assert "still: all" in said and "long: all" not in said
    assert "6 frames measured" in said
    # None of these frames may be missing.
    (tmp_path / "pred" / "short" / "00000.png").unlink()
    refuse(truth, tmp_path / "pred", "short", "00000", protocol="masks")


def test_a_truth_without_objects_does_not_say_that_masks_are_foreground(tmp_path):
    empty = np.zeros(layouts.SIZE, np.uint8)
    pred = write_folder(tmp_path / "pred", {"a": [layouts.truth(0)] * 3})
    results = run("masks", write_folder(tmp_path / "truth", {"a": [empty] * 3}), pred)
    assert value(results, "overlap: tracks") == 2
    # Beside foreground masks, a sequence may have none.
    mask = (layouts.truth(0) > 0) * np.uint8(255)
    both = {"a": [empty] * 3, "b": [empty, mask, empty]}
    both = write_folder(tmp_path / "both", both)
    assert value(run("masks", both, both), "J-mean") == 1


def joins(path, **groups):
    clips = {name: {"joined": own, "shows": "?"} for name, own in groups.items()}
    path.write_text(json.dumps({"about": "whatever", "clips": clips}))
    return path


def test_objects_that_move_as_one_are_one_object(case, tmp_path):
    root, pred = case("masks", change=lambda ids: (ids > 0) * np.uint8(7))
    file = joins(tmp_path / "joins.json", **{DAVIS[0]: [[2, 1]], DAVIS[1]: []})
    results = run("masks", root, pred, join=file)
    first, second = (results.by_sequence[name] for name in DAVIS)
    assert first["overlap: objects"] == first["tracking: best_j"] == 1
    assert first["davis17: J&F-mean"] == first["tracking: hota"] == 1
    assert second["overlap: objects"] == 2 and second["tracking: best_j"] < 0.6
    assert "Objects that move as one are one object: 1 group." in to_text(results)
    report = json.loads(to_json(results))
    assert report["dataset"]["options"] == {
        "joined": {DAVIS[0]: [[2, 1]], DAVIS[1]: []}
    }
    make_page(results, 2)  # Which reads the truth again.
    apart = run("masks", root, pred)
    assert value(apart, "overlap: objects") == 4
    digests = [
        [scored.truth_digest for scored in results.measured.scored]
        for results in (results, apart)
    ]
    assert digests[0][0] != digests[1][0] and digests[0][1] == digests[1][1]


@needs("data/video_instances")
def test_riders_and_motorcycles_of_a_real_video_are_joined(tmp_path):
    name = "ytvos_t_NFaw9mv0_4"
    annotations = outside("data/video_instances/Annotations")
    file = joins(tmp_path / "joins.json", **{name: [[1, 2], [3, 4]]})
    results = run("masks", annotations, annotations, sequences=(name,), join=file)
    assert value(results, "overlap: objects") == 2
    assert value(results, "overlap: tracks") == 4
    # Each rider and each motorcycle is a track, in what is one object now.
    assert value(results, "tracking: tracks_per_object") == 2
    assert value(results, "tracking: union_j") == 1
    assert value(results, "tracking: best_j") < 1


@pytest.mark.parametrize("text, words", [
    ("[]", "expected a JSON object"),
    ("{", "is not JSON"),
    ('{"clips": []}', 'expected {"clips"'),
    ('{"clips": {"blackswan": {"joined": []}}}', '"clips" has no bmx-trees'),
    *(
        ('{"clips": {"blackswan": {"joined": []}, "bmx-trees": ' + clip + "}}", words)
        for clip, words in (
            ("{}", 'bmx-trees: "joined" is missing'),
            ("[]", 'bmx-trees: "joined" is missing'),
            ('{"joined": {}}', 'bmx-trees: "joined" is missing'),
            ('{"joined": [1, 2]}', '"joined" has 1;'),
            ('{"joined": [[1]]}', '"joined" has [1];'),
            ('{"joined": [[]]}', '"joined" has [];'),
            ('{"joined": [[1, 0]]}', '"joined" has 0;'),
            ('{"joined": [[1, 255]]}', '"joined" has 255;'),
            ('{"joined": [[1, 2.0]]}', '"joined" has 2.0;'),
            ('{"joined": [[1, true]]}', '"joined" has True;'),
            ('{"joined": [[1, [2]]]}', '"joined" has [2];'),
            ('{"joined": [[1, 2], [3, 2]]}', '"joined" has 2;'),
            ('{"joined": [[1, 1]]}', '"joined" has 1;'),
        )
    ),
])  # fmt: skip
def test_files_of_joined_objects_that_are_wrong_are_refused(
    case, tmp_path, text, words
):
    root, pred = case("masks")
    file = layouts.write(tmp_path / "joins.json", text)
    message = refuse(root, pred, words, str(file), protocol="masks", join=file)
    assert "\n" not in message


def test_a_missing_file_of_joined_objects_is_refused(case, tmp_path):
    root, pred = case("masks")
    refuse(root, pred, "no such file", protocol="masks", join=tmp_path / "no.json")


# Overlaps of tracks ----------------------------------------------------------------


def test_overlaps_are_shown_where_the_format_can_hold_them(case, tmp_path):
    root, pred = case("davis17-unsupervised")
    names = ("tracking: overlapping", "tracking: contained")
    flat = run("davis17-unsupervised", root, pred)
    assert not {*names} & flat.values.keys()
    assert "contained" not in to_text(
        flat
    ).split() and "no tracks can overlap" in to_text(flat)
    # One sequence as a file with each thing twice: its visible pixels are the same.
    tracks = [
        frame._replace(sightings=tuple(
            sighting._replace(id=i)
            for sighting in frame.sightings
            for i in (sighting.id, sighting.id + 10)
        ))
        for frame in true_tracks("davis17-unsupervised", root, DAVIS[0])
    ]  # fmt: skip
    shutil.rmtree(pred / DAVIS[0])
    write_tracks(tracks, pred / f"{DAVIS[0]}.json", to="tracks")
    mixed = run("davis17-unsupervised", root, pred)
    for name in names:
        assert value(mixed, name) == mixed.by_sequence[DAVIS[0]][name] == 1
        assert math.isnan(mixed.by_sequence[DAVIS[1]][name])
    assert mixed.by_sequence[DAVIS[0]]["tracking: tracks_per_object"] == 2
    assert value(mixed, "davis17: J&F-mean") == 1
    json.loads(to_json(mixed), parse_constant=pytest.fail)
    assert b"no tracks can overlap" in make_page(mixed, 0)


# Matching --------------------------------------------------------------------------


def sequence(video, annotated):
    frames = tuple(
        TruthFrame(name, i, i, (2, 2), IdImage(Path(f"{name}.png")))
        for i, name in enumerate(video)
        if name in annotated
    )
    return TruthSequence("a", tuple(video), frames)


def numbers(count, step=1):
    return [f"{i:05d}" for i in range(0, count * step, step)]


def match(video, annotated, found, named=True, **options):
    truth = sequence(video, annotated)
    survey = Survey(tuple(found), named, {})
    return match_frames(truth, survey, range(len(truth.frames)), **options)


@pytest.mark.parametrize(
    "video, annotated, found, named, rule, rows",
    [
        # Names that are those of the video.
        (numbers(4), numbers(4), numbers(4), True, BY_NAME, (0, 1, 2, 3)),
        (["b", "a"], ["b", "a"], ["a", "b"], True, BY_NAME, (1, 0)),
        (numbers(6), numbers(2, 5), numbers(6), True, BY_NAME, (0, 5)),
        (numbers(6), numbers(2, 5), numbers(2, 5), True, BY_NAME, (0, 1)),
        # Numbers of a video whose frames have other names.
        (["x1", "x2"], ["x2"], numbers(2), True, BY_POSITION, (1,)),
        (["x1", "x2"], ["x2"], numbers(1), True, BY_ANNOTATED, (0,)),
        (numbers(3, 5), numbers(3, 5), numbers(3), True, BY_POSITION, (0, 1, 2)),
        # Numbered from 1, as FFmpeg does, or from anywhere.
        (["x1", "x2"], ["x2"], ["7", "8"], True, BY_POSITION, (1,)),
        (numbers(6), numbers(2, 5), ["00008", "00009"], True, BY_ANNOTATED, (0, 1)),
        # Formats without names.
        (numbers(6), numbers(2, 5), numbers(6), False, BY_POSITION, (0, 5)),
        (numbers(6), numbers(2, 5), numbers(2), False, BY_ANNOTATED, (0, 1)),
    ],
)
def test_frames_are_matched(video, annotated, found, named, rule, rows):
    matched = match(video, annotated, found, named)
    assert matched.problems == ()
    assert (matched.rule, matched.rows) == (rule, rows)


def test_numbers_that_may_be_shifted_are_refused_until_it_is_said():
    video, found = numbers(4), numbers(5)[1:]
    (problem,) = match(video, video, found).problems
    assert "without 00000 and with 00004 extra (--match name)" in problem
    assert match(video, video, found, by="position").rows == (0, 1, 2, 3)


def test_any_names_are_matched_by_position_if_asked_for():
    video, found = numbers(3), ["mask_a", "mask_b", "mask_c"]
    assert match(video, video, found).problems
    matched = match(video, video, found, by="position")
    assert matched.rows == (0, 1, 2) and not matched.problems
    (problem,) = match(video, video, found[:2], by="position").problems
    assert "2 frames, the video 3" in problem and "no names" not in problem


def test_numbers_that_might_be_names_are_refused_until_it_is_said():
    # Two frames at the start of the video, or the two that are annotated?
    video, annotated, found = numbers(6), numbers(2, 5), numbers(2)
    (problem,) = match(video, annotated, found).problems
    assert "--match position" in problem and "--match name" in problem
    matched = match(video, annotated, found, by="position")
    assert matched.rows == (0, 1) and not matched.problems
    (problem,) = match(video, annotated, found, by="name").problems
    assert "1 frames are missing" in problem and "00005" in problem


def test_names_that_have_all_and_more_may_be_numbers():
    video = numbers(13)[1:]
    annotated, found = [video[1], video[5], video[9]], numbers(12)
    (problem,) = match(video, annotated, found).problems
    assert "--match position" in problem and "with 00000 extra" in problem
    assert match(video, annotated, found, by="position").rows == (1, 5, 9)
    by_name = match(video, annotated, found, by="name", allow_extra=True)
    assert by_name.rows == (2, 6, 10) and by_name.extra == ("00000",)


@pytest.mark.parametrize("left_out, annotated, measured", [
    ("last", (0, 3, 5), range(2)), ("last", (0, 3), range(2)), ("last", (), range(0)),
    ("ends", (0, 3, 5), range(1, 2)), ("none", (0, 5), range(2)),
])  # fmt: skip
def test_the_last_frame_of_a_video_is_left_out_not_the_last_annotated_one(
    left_out, annotated, measured
):
    video = numbers(6)
    protocol = Protocol("", (), left_out=left_out)
    assert protocol.measured(sequence(video, [video[i] for i in annotated])) == measured


@pytest.mark.parametrize("found", [[], numbers(3), numbers(7)])
def test_counts_that_do_not_agree_are_refused(found):
    for named in (True, False):
        assert match(numbers(6), numbers(2, 5), found, named).problems
        assert match(list("uvwxyz"), list("uz"), found, named).problems


def test_a_shift_by_one_is_refused():
    video = [f"{i:05d}" for i in range(1, 5)]
    matched = match(video, video, numbers(4))
    assert matched.rule == BY_POSITION and matched.rows == (0, 1, 2, 3)
    assert match(video, video[:2], numbers(4)).problems


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, unique=True),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.data(),
)
def test_names_are_matched_with_themselves_or_refused(video, found, draw):
    annotated = [v for v in video if draw.draw(st.booleans())] or video[:1]
    matched = match(video, annotated, found)
    missing, extra = {*annotated} - {*found}, {*found} - {*video}
    assert bool(matched.problems) == bool(missing or extra)
    if not matched.problems:
        assert [found[row] for row in matched.rows] == [
            name for name in video if name in annotated
        ]


# Intervals -------------------------------------------------------------------------


def test_intervals_are_quantiles_of_draws():
    def measure(scores):
        return {"mean": sum(scores) / len(scores), "none": math.nan}

    scores = [0.1, 0.2, 0.4, 0.8, 0.9]
    low, high = intervals(measure, scores, 4000)["mean"]
    # All 3125 draws there are, each equally likely.
    every = [sum(draw) / 5 for draw in itertools.product(scores, repeat=5)]
    for end, share in ((low, 0.025), (high, 0.975)):
        below = sum(mean < end - 0.02 for mean in every) / len(every)
        above = sum(mean > end + 0.02 for mean in every) / len(every)
        assert below < share < 1 - above
    assert intervals(measure, scores, 100) == intervals(measure, scores, 100)
    assert intervals(measure, scores, 100)["none"] is None
    assert intervals(measure, scores, 0)["mean"] is None
    assert intervals(measure, scores[:1], 100)["mean"] is None


def test_draws_without_the_number_are_left_out():
    def measure(scores):
        known = [s for s in scores if s is not None]
        return {"mean": sum(known) / len(known) if known else math.nan}

    assert intervals(measure, [None, 1.0, None], 200)["mean"] == (1.0, 1.0)


# What a reader gets ----------------------------------------------------------------


class Outline(HTMLParser):
    """Checks that elements close in order; collects words and attributes."""

    EMPTY = ("meta", "link", "img")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.mark.parametrize("protocol", CASES)
def test_the_page_is_well_formed_and_loads_nothing(protocol, case):
    root, pred = case(protocol, change=lambda ids: np.roll(ids, 1, axis=1))
    results = run(protocol, root, pred)
    text = make_page(results, 3).decode()
    outline = Outline(text)
    words = " ".join(" ".join(outline.words).split())
    for found in results.values.values():
        assert found.about.text in words
    for name in CASES[protocol][1]:
        assert f"{name}, frame" in words
    for tag, attributes in outline.elements:
        assert tag != "script"
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    pictures = [tag for tag, _ in outline.elements if tag == "img"]
    shown = min(3, sum(len(s.scores) for s in results.measured.scored) * 3)
    assert 2 <= len(pictures) <= 2 * shown


def test_names_cannot_break_out_of_the_page(tmp_path):
    for i in range(3):
        ids = images.encode_ids(layouts.truth(i))
        layouts.write(tmp_path / HOSTILE.replace("/", "|") / f"{i}.png", ids)
    results = run("masks", tmp_path, tmp_path)
    outline = Outline(make_page(results, 3).decode())
    sources = [a["src"] for tag, a in outline.elements if tag == "img"]
    assert sources and all(source.startswith("data:image/jpeg") for source in sources)


def test_the_worst_frames_are_the_worst_and_apart(case):
    root, pred = case("davis16")
    for i in (1, 2):
        file = pred / DAVIS[0] / f"{i:05d}.png"
        file.write_bytes(images.encode_ids(np.zeros(layouts.SIZE, np.uint8)))
    measured = evaluate(ask("davis16", root, pred))
    worst = worst_frames(measured, 3)
    assert [(w.sequence, w.frame, w.score) for w in worst] == [
        (0, 1, 0.0), (0, 2, 0.0), (1, 1, 1.0),
    ]  # fmt: skip
    assert worst_frames(measured, 0) == []
    scores = {f"{i:05d}": abs(i - 50) / 100 for i in range(100)}
    frames = measured.tasks[0].truth.frames
    longer = tuple(dataclasses.replace(frames[0], name=name) for name in scores)
    truth = dataclasses.replace(measured.tasks[0].truth, frames=longer)
    task = dataclasses.replace(measured.tasks[0], truth=truth)
    old = measured.scored[0]
    scored = old._replace(
        scores={"davis16": old.scores["davis16"]._replace(frames=scores)}
    )
    alone = dataclasses.replace(measured, tasks=(task,), scored=(scored,))
    assert [w.frame for w in worst_frames(alone, 9)] == [50, 40, 60]


def test_published_numbers_are_apart_from_measured_ones(case):
    root, pred = case("davis16")
    results = run("davis16", root, pred)
    measured, published = to_text(results).split("PUBLISHED")
    assert "79.0" in published and "Table 5" in published
    assert "79.0" not in measured
    assert b"Table 5" not in to_json(results) and b"0.79" not in to_json(results)
    page = make_page(results, 0).decode()
    assert page.index("Published, not measured here") < page.index("Table 5")


def test_scores_that_a_format_lacks_are_told(case):
    root, pred = case("detection")
    assert "without scores" in to_text(run("detection", root, pred))
    shutil.rmtree(pred)
    write_predictions("detection", root, pred, to="tracks")
    assert "without scores" not in to_text(run("detection", root, pred))


def test_digests_tell_predictions_apart(case, tmp_path):
    root, pred = case()
    tracks = true_tracks("davis17-unsupervised", root, DAVIS[0])

    def digest(change):
        changed = [change(i, frame) for i, frame in enumerate(tracks)]
        file = pred / f"{DAVIS[0]}.json"
        shutil.rmtree(pred / DAVIS[0], ignore_errors=True)
        write_tracks(changed, file, to="tracks")
        return evaluate(
            ask("davis17-unsupervised", root, pred, sequences=DAVIS[:1])
        ).scored[0]

    def swapped(i, frame):  # The ids change places in the last frame.
        a, b = frame.sightings
        pair = (a._replace(id=2), b._replace(id=1)) if i == 3 else (a, b)
        return frame._replace(sightings=pair)

    def scored(i, frame):
        return frame._replace(
            sightings=tuple(s._replace(score=0.5 + i / 10) for s in frame.sightings)
        )

    def covered(i, frame, order=1):  # Overlapping; only the order to paint differs.
        whole = masks.encode(np.ones(layouts.SIZE, bool))
        pair = (frame.sightings[0], frame.sightings[1]._replace(mask=whole))
        return frame._replace(sightings=pair[::order])

    found = [
        digest(change)
        for change in (
            lambda i, f: f, swapped, scored, covered,
            lambda i, f: covered(i, f, -1),
        )
    ]  # fmt: skip
    assert len({scored.prediction_digest for scored in found}) == 5
    assert len({scored.truth_digest for scored in found}) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames(tmp_path):
    peaks = []
    for count in (10, 80):
        root = tmp_path / str(count)
        for i in range(count):
            ids = np.zeros((240, 320), np.uint8)
            ids[20 + i : 60 + i, 30:90] = 1
            layouts.write(root / "a" / f"{i:03d}.png", images.encode_ids(ids))
        evaluate(ask("masks", root, root))  # What is kept once is kept now.
        tracemalloc.start()
        evaluate(ask("masks", root, root))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
