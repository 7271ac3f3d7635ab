"""Many videos in one command: each once, whoever is killed, and bad ones are rows."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.segment import batch_worker, fetching
from movseg_jax.segment.batch import segment_batch
from movseg_jax.segment.batch_folder import ROWS, STATES, BatchFolder, Row
from movseg_jax.segment.batch_worker import BatchJob
from movseg_jax.segment.engines import Engine
from movseg_jax.segment.run_folder import RUN, WORK
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.segment.video_list import WHOLE, Shard, find_videos
from movseg_jax.system import claims, stopping
from movseg_jax.system.signals import STOPPED
from movseg_jax.system.workers import Worker
from movseg_jax.system.workspace import read_marker
from tests.fakes.commands import finish, started_commands, wait_for
from tests.fakes.square_detector import load_squares, scene, write_images, write_video
from tests.test_claims import claim_of
from tests.test_segment import results


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three videos and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for name, count in (("a", 4), ("b", 6), ("c", 5)):
        write_video(folder / f"{name}.mp4", scene(count))
    (folder / "bad.mp4").write_bytes(b"no video" * 99)
    return folder


@pytest.fixture(scope="module")
def undisturbed(clips, tmp_path_factory):
    """The files of a batch that nothing disturbs."""
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    outcome = batch(root, clips)
    assert [row.state for row in outcome.rows] == ["done", "done", "failed", "done"]
    return files(root)


class Here(Worker):
    """Does its tasks in this process, which saves starting another one."""

    broken = False

    def __init__(self, job):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch_worker, "prepare_jax", lambda: None)
            batch_worker.begin_anywhere(job, os.getcwd(), None)

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future

    def ask_to_stop(self):
        pass

    def end(self):
        pass


HERE = Engine(1, lambda job, number, count: Here(job))


def batch(
    root, clips, *, limit=None, videos=None, shard=WHOLE, overwrite=False, **settings
):
    job = BatchJob(root, load_squares, SegmentConfig(**settings), overwrite=overwrite)
    videos = videos or sorted(map(str, clips.glob("*.mp4")))
    return segment_batch(job, videos, shard=shard, engine=HERE, limit=limit)


def files(root):
    """What every result holds."""
    return {
        folder.name: results(folder)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name != STATES
    }


def rows(root):
    text = (root / ROWS).read_text()
    return {row["folder"]: row for row in map(json.loads, text.splitlines())}


@pytest.fixture
def start():
    with started_commands() as start:
        yield start


# One driver ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_bad_video_is_a_row_and_the_others_are_done(clips, undisturbed, tmp_path):
    """Then the finished ones are skipped, and other settings are refused."""
    root = tmp_path / "root"
    outcome = batch(root, clips)
    assert (outcome.count("done"), outcome.count("failed")) == (3, 1)
    assert not outcome.stopped and files(root) == undisturbed
    found = rows(root)
    assert found["bad"]["error"].startswith(f"{clips}/bad.mp4: cannot be read")
    assert [found[name]["frames"] for name in "abc"] == [4, 6, 5]
    assert all(found[name]["worker"] for name in found)
    failed = (root / "failed.txt").read_text().splitlines()
    assert failed[0].startswith("# ") and failed[-1] == f"{clips}/bad.mp4"
    before = {path: path.stat().st_mtime_ns for path in root.glob(f"*/{RUN}")}
    good = [str(clips / f"{name}.mp4") for name in "abc"]
    assert batch(root, clips, videos=good).count("done") == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(InputError, match=r"other settings \(settings.min_frames was 6"):
        batch(root, clips, min_frames=2)
    config = SegmentConfig(min_frames=2)
    job = BatchJob(root, load_squares, config, overwrite=True)
    assert segment_batch(job, good[:1], engine=HERE).count("done") == 1
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {root / "a" / RUN}


@pytest.mark.slow
def test_the_command_says_how_many_are_done_and_exits_with_3(
    clips, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)
    monkeypatch.setattr("movseg_jax.cli.segment.load_model", load_squares)
    root = tmp_path / "root"
    plan = ["segment", str(clips), "--out", str(root), "--dry-run"]
    assert app.main(plan) == 0
    said = capsys.readouterr().out
    assert f"waiting  {root}/a  {clips}/a.mp4" in said and "4 to segment" in said
    assert not root.exists()
    with pytest.raises(SystemExit) as ended:
        app.main(["segment", str(clips), "--out", str(root), "--quiet"])
    assert ended.value.code == 3
    said = capsys.readouterr()
    assert f"{root}: 3 of 4 videos are done, 1 failed: {root}/failed.txt" in said.out
    assert said.out.splitlines()[-1] == f"Look at {root}/batch.jsonl."
    assert f"movseg: bad: {clips}/bad.mp4: cannot be read" in said.err
    assert sorted(files(root)) == ["a", "b", "c"]
    assert app.main(["batch", "status", str(root)]) == 0
    said = capsys.readouterr().out
    assert "4 videos: 3 done, 1 failed" in said and "failed   bad" in said
    assert app.main(["batch", "status", "--only", "done", str(root)]) == 0
    assert capsys.readouterr().out.startswith("done     a\ndone     b\ndone     c\n/")
    assert app.main(["batch", "status", str(root), "--only", "none"]) == 2
    assert "'None'" not in capsys.readouterr().err
    assert app.main([*plan, "--limit", "1"]) == 0
    assert "1 to segment, 3 are finished" in capsys.readouterr().out
    assert app.main(["batch", "status", str(clips)]) == 2
    assert "has no batch.json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_says_what_a_run_would_do(clips, tmp_path, capsys):
    """Also which settings differ, without the model, and it writes nothing."""
    root = tmp_path / "root"
    good = [str(clips / f"{name}.mp4") for name in "ab"]
    copy = shutil.copy(str(clips / "c.mp4"), str(tmp_path / "c.mp4"))
    batch(root, clips, videos=[*good, copy])
    with open(copy, "ab") as file:
        file.write(b"changed")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    code = "import sys; from movseg_jax.cli import app; status = app.main(sys.argv[1:])"
    code += "; assert 'jax' not in sys.modules; sys.exit(status)"
    plan = ["segment", *good, copy, "--out", str(root), "--dry-run"]
    ran = subprocess.run([sys.executable, "-c", code, *plan], capture_output=True)
    expected = f"refused  {root}/c  {copy}\n1 to segment, 2 are finished: {root}\n"
    assert (ran.returncode, ran.stdout.decode()) == (0, expected), ran.stderr
    plan += ["--min-frames", "2"]
    assert app.main(plan) == 2
    error = capsys.readouterr().err
    assert "other settings (settings.min_frames was 6, is 2)" in error
    assert app.main([*plan, "--overwrite", "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"replaced {root}/{n}  {clips}/{n}.mp4" for n in "ab"]
    assert lines[2].startswith("2 to segment, 0 are finished")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.slow
def test_names_that_collide_and_a_limit(clips, tmp_path):
    other = tmp_path / "other"
    write_images(other / "a", scene(4))
    videos = [str(clips / "a.mp4"), str(other / "a"), str(clips / "b.mp4")]
    root = tmp_path / "root"
    outcome = batch(root, clips, videos=videos, limit=2)
    assert [row.state for row in outcome.rows] == ["done", "done", "waiting"]
    names = [row.folder for row in outcome.rows]
    assert names[2] == "b" and all(name.startswith("a-") for name in names[:2])
    assert batch(root, clips, videos=videos[::-1]).count("done") == 3
    assert sorted(files(root)) == sorted(names)


@pytest.mark.slow
def test_a_worker_that_dies_costs_a_retry_and_then_its_video(clips, tmp_path):
    root, deaths = tmp_path / "root", tmp_path / "deaths"
    deaths.write_text("aaab")
    load = functools.partial(load_squares, killed_by=str(deaths))
    videos = [str(clips / f"{name}.mp4") for name in "ab"]
    outcome = segment_batch(BatchJob(root, load, SegmentConfig()), videos)
    assert [row.state for row in outcome.rows] == ["failed", "done"]
    assert "ended 3 times; it was killed" in outcome.rows[0].error
    assert deaths.read_text() == ""


@pytest.fixture
def downloads(clips, tmp_path, monkeypatch):
    """The addresses that were downloaded; each gives the clip of its name."""
    addresses = []

    def fetch(video, copy):
        addresses.append(video)
        shutil.copy(clips / video.rpartition("/")[2], copy)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_fetch", fetch)
    return addresses


@pytest.mark.slow
def test_addresses_are_downloaded_until_they_are_done(
    clips, downloads, tmp_path, monkeypatch
):
    root = tmp_path / "root"
    addresses = [f"https://a.b/{name}.mp4" for name in ("a", "bad")]
    outcome = batch(root, clips, videos=addresses)
    assert [row.state for row in outcome.rows] == ["done", "failed"]
    assert downloads == addresses
    copies = [*root.rglob("*.mp4"), *tmp_path.glob("cache/**/*.mp4")]
    assert copies == [root / "a" / "overlay.mp4"]
    # It is done whatever the machine, or its cache.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    for overwrite in (False, True):
        assert batch(root, clips, videos=addresses[:1], overwrite=overwrite).rows == [
            outcome.rows[0]
        ]
    assert downloads == addresses
    changed = batch(root, clips, videos=addresses[:1], overwrite=True, min_frames=2)
    assert changed.count("done") == 1 and downloads == [*addresses, addresses[0]]


@pytest.mark.slow
def test_a_stopped_address_resumes_from_its_copy(
    clips, downloads, tmp_path, monkeypatch
):
    root, videos = tmp_path / "root", ["https://a.b/a.mp4"]
    segment = batch_worker.segment_to_folder

    def stopped(*arguments, **options):
        progress = lambda done, *_: done == 2 and stopping.request_stop()
        return segment(*arguments, progress=progress, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "_asked", threading.Event())
        patch.setattr(batch_worker, "segment_to_folder", stopped)
        outcome = batch(root, clips, videos=videos)
    assert outcome.stopped and outcome.rows[0].state == "stopped"
    assert batch(root, clips, videos=videos).count("done") == 1
    assert downloads == videos


@pytest.mark.slow
def test_failed_is_a_list_also_of_names_that_are_no_text(tmp_path):
    video = tmp_path / os.fsdecode(b"odd \xe9.mp4")
    video.write_bytes(b"no video" * 99)
    root = tmp_path / "root"
    assert batch(root, None, videos=[str(video)]).count("failed") == 1
    assert find_videos([str(root / "failed.txt")]).videos == (str(video),)


@pytest.mark.slow
def test_a_damaged_video_fails_until_that_is_accepted(clips, tmp_path):
    video = write_video(tmp_path / "v.mp4", scene(30))
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 3 // 4])
    root, videos = tmp_path / "root", [str(video)]
    [row] = batch(root, None, videos=videos).rows
    assert row.state == "failed" and row.error.count("allow_truncated") == 1
    assert row.error.endswith(
        f"of {row.frames} frames; `allow_truncated=True` accepts that."
    )
    job = BatchJob(root, load_squares, SegmentConfig(), allow_truncated=True)
    assert segment_batch(job, videos, engine=HERE).count("done") == 1


# Several drivers -------------------------------------------------------------------


@pytest.mark.slow
def test_two_drivers_at_once_segment_each_video_once(
    start, clips, undisturbed, tmp_path
):
    root = tmp_path / "root"
    log = tmp_path / "log"
    drivers = [start(clips, "--out", root, pause=0.3, log=log) for _ in range(2)]
    for driver in drivers:
        status, out, errors = finish(driver)
        assert status == 3 and "3 of 4 videos are done, 1 failed" in out, errors
    assert files(root) == undisturbed
    # Each frame was detected in once.
    processes = log.read_text().split()
    assert len(processes) == 4 + 6 + 5 and len(set(processes)) <= 2


@pytest.mark.slow
def test_a_driver_that_was_stopped_or_killed_gives_the_same_bytes(
    start, clips, undisturbed, tmp_path
):
    root = tmp_path / "root"
    for number in (signal.SIGTERM, signal.SIGKILL):
        begun = root / ("b" if number == signal.SIGTERM else "c") / WORK / RUN
        driver = start(clips, "--out", root, "--jobs", 2, pause=0.3)
        wait_for(begun.exists, driver)
        driver.send_signal(number)
        if number == signal.SIGTERM:
            status, out, _ = finish(driver)
            assert status == STOPPED and "stopped, start it again" in out
            assert "stopped" in {row["state"] for row in rows(root).values()}
        else:
            driver.communicate()
        assert begun.exists()
    assert batch(root, clips).count("done") == 3
    assert files(root) == undisturbed


@pytest.mark.slow
def test_the_claim_of_another_host_is_waited_for_until_it_is_stale(
    clips, tmp_path, monkeypatch
):
    monkeypatch.setattr("movseg_jax.segment.batch.POLL", 0.2)
    root = tmp_path / "root"
    (root / STATES).mkdir(parents=True)
    claim = claim_of(root / STATES / "a", age=claims.STALE - 2)
    began = time.monotonic()
    outcome = batch(root, clips, videos=[str(clips / "a.mp4")])
    assert outcome.count("done") == 1 and not claim.exists()
    assert time.monotonic() - began > 1.5


@pytest.fixture
def streets(tmp_path):
    """Two videos of one name."""
    videos = [tmp_path / place / "street.mp4" for place in "xy"]
    for count, video in enumerate(videos, 3):
        video.parent.mkdir()
        write_video(video, scene(count))
    return [*map(str, videos)]


@pytest.mark.slow
def test_shards_that_start_at_once_name_folders_as_one_command_does(
    streets, tmp_path, capsys
):
    names = {row.folder for row in BatchFolder(tmp_path / "whole").add(streets)}
    root = tmp_path / "root"
    for part in ("1/2", "2/2"):
        plan = ["segment", *streets, "--out", str(root), "--dry-run", "--shard", part]
        assert app.main(plan) == 0
        planned = capsys.readouterr().out
        [row] = batch(root, None, videos=streets, shard=Shard.parse(part)).rows
        assert row.state == "done" and f"{root}/{row.folder}  {row.video}" in planned
        (root / ROWS).unlink()  # The other one has not seen it when it starts.
    assert files(root).keys() == names


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_lists_with_videos_of_one_name_do_not_replace_each_other_s_results(
    streets, tmp_path, overwrite
):
    root = tmp_path / "root"
    for video in (*streets, streets[0]):
        outcome = batch(root, None, videos=[video], overwrite=overwrite)
        assert [row.state for row in outcome.rows] == ["done"]
        (root / ROWS).unlink()
    frames = {row.folder: row.frames for row in BatchFolder(root).add(streets)}
    found = {name: read_marker(root / name / RUN)["frames"] for name in files(root)}
    assert found.pop("street") == 3 and [*found.values()] == [4], frames


# The folder ------------------------------------------------------------------------


def test_commands_at_once_never_share_the_folder_of_a_name(tmp_path):
    """The first keeps the name; all agree then, also on what the list said before."""
    here, there = BatchFolder(tmp_path), BatchFolder(tmp_path)
    [x], [y] = here.add(["/x/street.mp4"]), there.add(["/y/street.mp4"])
    assert x.folder == y.folder == "street"
    here.publish()
    there.publish()
    assert '"street"' in (tmp_path / ROWS).read_text()
    x, claim = here.begin(x)
    assert there.begin(y) is None  # It is not known yet whose the name is.
    here.write(x._replace(state="running"))
    y, other = there.begin(y)
    assert x.folder == "street" and y.folder.startswith("street-")
    there.write(y._replace(state="running"))
    claim.release()
    other.release()
    for folder in (here, there, BatchFolder(tmp_path)):
        named = {row.video: row.folder for row in folder.publish()}
        assert named == {x.video: x.folder, y.video: y.folder}
        assert folder.read(x._replace(folder=y.folder)).folder != y.folder


def test_rows_that_are_damaged_are_left_out(tmp_path):
    good = {"video": "/x/a.mp4", "folder": "a", "state": "done", "frames": 3}
    bad = [b"{", b"[]", b"null", b'{"video": "/x", "folder": "../b"}', b""]
    bad += [
        json.dumps(good | change).encode()
        for change in (
            {"state": "x"},
            {"frames": "3"},
            {"more": 1},
            {"folder": ".."},
            {"notes": 1},
        )
    ]
    (tmp_path / ROWS).write_bytes(b"\n".join(bad))
    folder = BatchFolder(tmp_path)
    assert folder.rows() == []
    (tmp_path / ROWS).write_text(json.dumps(good))
    [row] = folder.rows()
    # Only states that are in the videos' own folders count.
    assert (row.video, row.folder, row.state) == ("/x/a.mp4", "a", "waiting")


ABOUT = {"settings": {"min_frames": 6}}


@pytest.mark.parametrize(
    ("there", "problem", "replaces"),
    [
        ({}, "", True),
        ({"batch.json": json.dumps(ABOUT), "failed.txt": ""}, "", True),
        ({"batch.json": '{"settings": 1}'}, "other settings", True),
        ({"batch.json": "{", ".batch/a/row.json": ""}, "is damaged", True),
        ({"batch.jsonl": "", ".batch/a/row.json": ""}, "has no batch.json", True),
        ({"theirs.txt": ""}, "is not empty and has no batch.json", True),
        ({"batch.json": "[]"}, "is damaged", False),
        ({"failed.txt": ""}, "is not empty and has no batch.json", False),
    ],
)
def test_overwrite_is_what_the_advice_promises(tmp_path, there, problem, replaces):
    for name, text in there.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = BatchFolder(tmp_path)
    if problem:
        with pytest.raises(InputError, match=f"{problem}.*`overwrite=True`"):
            folder.check(ABOUT, overwrite=False)
    else:
        folder.check(ABOUT, overwrite=False)
    if replaces:
        folder.check(ABOUT, overwrite=True)
        return
    with pytest.raises(InputError, match="but not of a batch of movseg; remove that"):
        folder.check(ABOUT, overwrite=True)


def test_states_can_be_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    folder = BatchFolder(tmp_path)
    [row] = folder.add(["/x/a.mp4"])
    row = row._replace(state="running", worker="other:1")
    (tmp_path / STATES).mkdir()
    claim = claim_of(folder.claims(row), age=claims.STALE + 1)
    folder.write(row)

    def read_only(*_):
        raise PermissionError("read-only")

    folder.publish()
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", read_only)
        assert [known.state for known in BatchFolder(tmp_path).rows()] == ["running"]
    assert BatchFolder(tmp_path).rows()[0].state == "stopped" and claim.exists()


def test_a_batch_without_videos_is_done_at_once(tmp_path):
    job = BatchJob(tmp_path / "root", load_squares, SegmentConfig())
    outcome = segment_batch(job, [], engine=HERE)
    assert outcome.rows == [] and not outcome.stopped


@pytest.mark.parametrize(
    ("there", "overwrite", "replaced"),
    [
        ("as asked for", False, False),
        ("as asked for", True, False),
        ("of another device", False, True),  # It cannot resume: it begins anew.
        ("of other settings", False, False),  # Segmenting it says so.
        ("of other settings", True, True),
        ("finished with other settings", False, False),
        ("nothing", False, False),
    ],
)
def test_what_another_kind_of_device_left_half_done_is_replaced(
    tmp_path, there, overwrite, replaced
):
    about = {"video": "a", "device": "cpu", "model": {"channels": 8}}
    known = {
        "of another device": about | {"device": "gpu"},
        "of other settings": about | {"model": {"channels": 9}},
    }.get(there, about)
    folder, row = BatchFolder(tmp_path), Row("/x/a.mp4", "a")
    work = tmp_path / "a" / WORK
    work.mkdir(parents=True)
    if there != "nothing":
        (work / RUN).write_text(json.dumps({"about": known}))
    if there.startswith("finished"):
        other = about | {"device": "gpu"}
        (work / RUN).write_text(json.dumps({"about": other}))
        (tmp_path / "a" / RUN).write_text(json.dumps({"about": {"video": "b"}}))
    assert folder.replaces(row, about, overwrite) is replaced
