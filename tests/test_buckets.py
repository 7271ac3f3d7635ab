"""Runs in buckets: complete or unfinished whenever they are killed, and as locally.

Most tests use fsspec's buckets in memory, the slow ones an emulator of Google's.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.segment import bucket_run
from movseg_jax.segment.bucket_run import SPOOL, segment_to_bucket
from movseg_jax.segment.fetching import fetched
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system import buckets
from movseg_jax.system.buckets import Mirror, bucket_address, mirrored
from movseg_jax.train.checkpoints import Checkpoints
from movseg_jax.train.workdir import open_workdir
from tests.fakes.memory_bucket import Killed, MemoryBucket
from tests.fakes.square_detector import (
    make_detector,
    scene,
    write_images,
    write_video,
)

ROOT = Path(__file__).parents[1]
NEVER = 10**6


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = MemoryBucket(monkeypatch)
    yield bucket
    bucket.clear()


def read_tree(folder):
    """The content of all files by name, without those whose names start with a dot."""
    names = {file: file.relative_to(folder) for file in folder.rglob("*")}
    return {
        name.as_posix(): file.read_bytes()
        for file, name in names.items()
        if file.is_file() and not any(part.startswith(".") for part in name.parts)
    }


# Addresses ------------------------------------------------------------------------


def test_an_address_survives_being_a_path():
    for path in ("gs://b/x", Path("gs://b/x"), "gs://b/x/", "gs:/b/x"):
        assert bucket_address(path) == "gs://b/x"
    assert bucket_address(Path("s3://b")) == "s3://b"
    for path in (None, "x", "/gs:/b", "https://a/b", "gs://", "az://b/x", "x/gs://b"):
        assert bucket_address(path) is None


def test_a_video_in_a_bucket_is_read_once(bucket):
    address = "memory://bucket/clips/a b.mp4"
    with pytest.raises(InputError, match=r"a b\.mp4: there is no such object"):
        fetched(address)
    bucket.files.pipe_file(address, b"content")
    copy = fetched(address)
    assert Path(copy).read_bytes() == b"content"
    bucket.files.pipe_file(address, b"other")
    assert Path(fetched(address)).read_bytes() == b"content"
    with pytest.raises(InputError, match="has 5 bytes, more than 4"):
        buckets.download(address, Path(copy), max_bytes=4)


def test_a_missing_library_is_named(bucket, monkeypatch):
    def missing(scheme):
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match=r'gs://b/x: .* pip install "\.\[gcs\]"'):
        with mirrored("gs://b/x"):
            pass


def test_errors_name_the_address_and_the_reason(bucket, monkeypatch):
    def broken(*_):
        raise OSError("the network is gone")

    with pytest.raises(
        InputError, match=r"memory://bucket/x/a: cannot be written: the"
    ):
        with mirrored("memory://bucket/x") as mirror:
            (mirror.folder / "a").write_text("a")
            monkeypatch.setattr(bucket.files, "pipe_file", broken)
            mirror.put()
    with pytest.raises(InputError, match=r"memory://bucket/x/y: is bad") as error:
        with mirrored("memory://bucket/x") as mirror:
            raise InputError(f"{mirror.folder}/y: is bad.", way_out="Do this.")
    assert error.value.message == "memory://bucket/x/y: is bad."
    assert not mirror.folder.exists()


@pytest.fixture(scope="module")
def emulator():
    """Runs an emulator of Google Cloud Storage; gives the variables that lead to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from gcp_storage_emulator.server import create_server\n"
        f"create_server('127.0.0.1', {port}, in_memory=True, default_bucket='bucket')"
        ".run()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port)),
            ):
                break
            time.sleep(0.1)
        yield {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
            # Else gcsfs asks Google which kind of bucket it is.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
    finally:
        process.kill()
        process.wait()


def run_this(emulator, *arguments):
    """Runs this module as a program, in which an address is that of the emulator."""
    return subprocess.run(
        [sys.executable, "-m", "tests.test_buckets", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | emulator | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )


# Mirrors --------------------------------------------------------------------------

BEFORE = {"a/1": "1", "a/2": "2", "b/1": "1", "b/gone": "x", "log": "1", "c/1": "1"}
AFTER = {
    "a/1": "1",
    "a/2": "changed",
    "b/1": "1",
    "b/new": "y",
    "log": "12",
    "d/1": "1",
}


def fill(folder, files):
    """Makes the files those of a folder, with a manifest of each folder in it."""
    shutil.rmtree(folder)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for part in {name.split("/")[0] for name in files if "/" in name}:
        (folder / part / "manifest.json").write_text(json.dumps(below(part, files)))


def below(part, files):
    return {n: text for n, text in sorted(files.items()) if n.startswith(f"{part}/")}


def assert_marked_folders_are_complete(found):
    assert "c/manifest.json" in found or "d/manifest.json" in found
    for name, text in found.items():
        part, _, rest = name.partition("/")
        if rest == "manifest.json":
            assert json.loads(text) == below(
                part,
                {n: t for n, t in found.items() if not n.endswith("manifest.json")},
            )


def test_a_mirror_that_is_killed_at_any_write_has_no_half_folder_with_a_marker(bucket):
    ends = []
    for kill in range(15):
        place = f"mirror{kill}"
        with mirrored(f"memory://bucket/{place}") as mirror:
            fill(mirror.folder, BEFORE)
            mirror.put()
            fill(mirror.folder, AFTER)
            bucket.left = kill
            try:
                mirror.put()
                ends.append(kill)
            except Killed:
                pass
            bucket.left = None
        found = {name: data.decode() for name, data in bucket.content(place).items()}
        assert_marked_folders_are_complete(found)
        with mirrored(f"memory://bucket/{place}") as mirror:  # On another machine.
            fill(mirror.folder, AFTER)
            mirror.adopt(mirror.names())
            mirror.put()
            assert read_tree(mirror.folder) == bucket.content(place)
    # Six objects and three markers are written, two objects and three markers removed.
    assert ends[0] == 14


def test_a_mirror_leaves_what_it_does_not_know(bucket):
    bucket.files.pipe({"/bucket/m/theirs": b"x", "/bucket/m2/a": b"x"})
    with mirrored("memory://bucket/m") as mirror:
        (mirror.folder / "ours").write_text("x")
        (mirror.folder / ".lock").write_text("x")
        mirror.put()
        assert mirror.names() == ["ours", "theirs"]
        mirror.remove("theirs")
        bucket.left = 0  # Nothing changed, so nothing is written.
        mirror.put()
    assert bucket.content("m").keys() == {"ours", "theirs"}


def test_names_of_objects_lead_nowhere(bucket):
    with mirrored("memory://bucket/m") as mirror:
        for name in ("../x", "/x", "a//b"):
            with pytest.raises(InputError, match=r"memory://bucket/m: .* plain path"):
                mirror.get([name])


# Videos ---------------------------------------------------------------------------


@pytest.fixture
def frames(tmp_path):
    return str(write_images(tmp_path / "clip", scene(8)))


def results(content):
    """The results without what differs between two runs: times, in run.json."""
    run = json.loads(content["run.json"])
    return {**content, "run.json": run["about"] | {"tracks": run["tracks"]}}


def local_results(frames, folder, **settings):
    segment_to_folder(frames, folder, make_detector(), SegmentConfig(**settings))
    return results(read_tree(folder))


def segment(frames, **options):
    return segment_to_bucket(
        frames, "memory://bucket/out", make_detector(), SegmentConfig(), **options
    )


def test_a_video_that_is_killed_between_writes_has_the_results_of_one_that_is_not(
    bucket, frames, tmp_path
):
    for kill in (0, 13):
        bucket.left = kill
        with pytest.raises(Killed):
            segment(frames)
        found = bucket.content("out")
        assert "run.json" not in found and (SPOOL in found) == (kill > 0)
    calls = []
    bucket.left = 14
    with pytest.raises(Killed):
        segment(frames, progress=lambda *call: calls.append(call))
    assert calls[0] == (8, 8, "detect")  # Nothing is detected again.
    bucket.left = None
    assert segment(frames).already
    assert results(bucket.content("out")) == local_results(frames, tmp_path / "local")
    other = write_images(tmp_path / "other", scene(4))
    with pytest.raises(
        InputError, match=r"^memory://bucket/out: has the results of an"
    ):
        segment(other)
    assert segment(other, overwrite=True).frames == 4
    masks = [name for name in bucket.content("out") if name.startswith("masks/")]
    assert len(masks) == 4 and SPOOL not in bucket.content("out")


def test_a_stopped_video_resumes_elsewhere(bucket, frames, tmp_path):
    stopping = functools.partial(os.kill, os.getpid(), 15)

    def stop(done, total, phase):
        if phase == "detect" and done == 4:
            stopping()

    named = {"copy_of": "https://a.b/clip"}
    assert not segment(frames, progress=stop, **named).finished
    assert bucket.content("out").keys() == {SPOOL}
    elsewhere, calls = str(tmp_path / "elsewhere"), []
    shutil.copytree(frames, elsewhere)
    keep = lambda *call: calls.append(call)
    assert segment(elsewhere, progress=keep, **named).finished
    assert calls[0] == (4, 8, "detect")


def test_what_is_in_the_bucket_is_not_mixed_up(bucket, frames):
    bucket.files.pipe("/bucket/out/theirs.txt", b"x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="memory://bucket/out: is not empty"):
            segment(frames, overwrite=overwrite)
    assert bucket.content("out") == {"theirs.txt": b"x"}
    bucket.files.pipe(f"/bucket/out/{SPOOL}", b"damaged")
    with pytest.raises(InputError, match=rf"bucket/out/{SPOOL}: is damaged"):
        segment(frames)


def test_the_spool_is_written_now_and_then(bucket, frames, monkeypatch):
    written, put = [], Mirror.put_file
    monkeypatch.setattr(bucket_run, "INTERVAL", 0.0)
    monkeypatch.setattr(bucket_run, "SHARE", 0)
    monkeypatch.setattr(Mirror, "put_file", lambda m, n: (written.append(n), put(m, n)))
    segment(frames)
    assert written.count(SPOOL) == 1 + 8 + 1  # At first, after each frame, at the end.


def test_the_command_segments_to_a_bucket(bucket, frames, monkeypatch, capsys):
    monkeypatch.setattr(
        "movseg_jax.cli.segment.load_model", lambda *_, **__: make_detector()
    )
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)
    arguments = ["segment", frames, "--out", "memory://bucket/out", "--quiet"]
    assert app.main(arguments) == 0
    output = capsys.readouterr().out
    assert output.startswith("memory://bucket/out: finished, 1 track in 8 frames.")
    assert output.endswith("Look at memory://bucket/out/report.html.\n")
    assert app.main([*arguments, "--jobs", "2"]) == 2
    assert "only a single video can be written to a bucket" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_video_resumes_from_google_s_storage(emulator, tmp_path):
    video = write_video(tmp_path / "copy.mp4", scene(8))
    assert run_this(emulator, "segment", tmp_path, 6).returncode == -signal.SIGKILL
    ended = run_this(emulator, "segment", tmp_path, NEVER)
    assert ended.stdout == "(8, 8, 'detect')\n", ended.stderr
    expected = local_results(fetched("gs://bucket/copy.mp4"), tmp_path / "local")
    assert results(read_tree(tmp_path / "got")) == expected
    assert video.exists()


# Training -------------------------------------------------------------------------


def save(place, step, keep=1):
    with Checkpoints(place.path / "checkpoints", keep, place.put) as checkpoints:
        checkpoints.save(step, {"a": np.arange(5) * step}, {"step": step})


def test_a_checkpoint_that_is_killed_between_writes_is_there_or_the_one_before(bucket):
    found = []
    for kill in (1, 6, 13, 100):
        where = f"memory://bucket/run{kill}"
        with open_workdir(where) as place:
            save(place, 1)
        bucket.left = kill
        with contextlib.suppress(Killed), open_workdir(where) as place:
            save(place, 2)
        bucket.left = None
        with open_workdir(where) as place:  # Nothing is damaged: there is no warning.
            with Checkpoints(place.path / "checkpoints") as checkpoints:
                step = checkpoints.latest_good()
                state, extra = checkpoints.restore(step, {"a": np.arange(5)})
            assert state["a"].tolist() == [0, step, 2 * step, 3 * step, 4 * step]
            assert extra == {"step": step}
            found.append(step)
        content = bucket.content(f"run{kill}")
        assert {name.split("/")[1] for name in content} <= {"1", "2"}
    assert found == sorted(found) and found[0] == 1 and found[-1] == 2
    assert {name.split("/")[1] for name in content} == {"2"}


def test_the_log_is_written_every_minute(bucket, monkeypatch):
    with open_workdir(Path("memory://bucket/run")) as place:
        for text in ("1", "12"):
            for name in ("log.jsonl", "config.json", "other"):
                (place.path / name).write_text(text)
            place.put_log()
        assert bucket.content("run") == {"log.jsonl": b"1", "config.json": b"1"}
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        place.put_log()
        assert bucket.content("run")["log.jsonl"] == b"12"
    assert bucket.content("run")["other"] == b"12"


@pytest.mark.slow
def test_killed_checkpoints_are_found_again_in_google_s_storage(emulator, tmp_path):
    killed = run_this(emulator, "save", tmp_path, 20)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended = run_this(emulator, "save", tmp_path, NEVER)
    before, after = map(int, ended.stdout.split())
    assert 1 <= before < after == before + 3, ended.stderr
    steps = {n.split("/")[1] for n in read_tree(tmp_path / "got")}
    assert steps == {str(after)}


# Programs -------------------------------------------------------------------------


def main(action, folder, kill):
    """Works in the emulator, and is killed after so many objects were written."""
    put = Mirror.put_file
    left = iter(range(kill))

    def put_or_die(mirror, name):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        put(mirror, name)

    Mirror.put_file = put_or_die
    files = fsspec.filesystem("gs")
    if action == "segment":
        files.put_file(str(folder / "copy.mp4"), "gs://bucket/copy.mp4")
        calls = []
        segment_to_bucket(
            fetched("gs://bucket/copy.mp4"),
            "gs://bucket/out",
            make_detector(),
            progress=lambda *call: calls.append(call),
        )
        print(calls[0])
        files.get("gs://bucket/out", str(folder / "got"), recursive=True)
    else:
        with open_workdir("gs://bucket/run") as place:
            with Checkpoints(place.path / "checkpoints") as checkpoints:
                step = checkpoints.latest_good() or 0
            for _ in range(3):
                save(place, step := step + 1)
        print(step - 3, step)
        files.get("gs://bucket/run", str(folder / "got"), recursive=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
