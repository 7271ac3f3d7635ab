"""How the driver of a batch treats workers, and what these do on other machines."""

import functools
import os
import sys
from concurrent.futures import BrokenExecutor, Future

import pytest

from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.segment import batch_worker
from movseg_jax.segment.batch import segment_batch
from movseg_jax.segment.batch_folder import BatchFolder, Row
from movseg_jax.segment.batch_worker import BatchJob
from movseg_jax.segment.engines import Engine
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system import workers
from movseg_jax.system.workers import Worker
from tests.fakes import flow_network
from tests.fakes.square_detector import load_squares, scene, write_video

ABOUT = {"weights": "those"}
# A worker does one of these when it loads the detector or segments a video.
WAITS, DIES = object(), BrokenExecutor("it was killed")


class ScriptedWorker(Worker):
    """Loads `ABOUT` and says of each video that it is done, unless it is told else."""

    def __init__(self, loaded=ABOUT, deaths=()):
        self.loaded, self.deaths, self.videos, self.ended = loaded, deaths, [], False

    @property
    def broken(self):
        return False

    def submit(self, function, *arguments):
        future, result = Future(), self.loaded
        if function is batch_worker.segment:
            row = arguments[0]
            self.videos.append(row.folder)
            result = row._replace(state="done")
            if row.folder in self.deaths:
                self.deaths.remove(row.folder)
                result = DIES
        if result is DIES:
            future.set_exception(DIES)
        elif result is not WAITS:
            future.set_result(result)
        return future

    def ask_to_stop(self):
        pass

    def end(self):
        self.ended = True


def run(root, *workers, count=4, retries=1):
    """Segments videos by workers, which are started in their order."""
    batch = BatchJob(root, lambda: None, SegmentConfig())
    left = [*workers]
    engine = Engine(2, lambda batch, number, jobs: left.pop(0))
    videos = [f"/{letter}.mp4" for letter in "abcdefgh"[:count]]
    return segment_batch(batch, videos, engine=engine, retries=retries)


def test_a_worker_that_has_not_started_holds_no_video_and_is_ended(tmp_path):
    """As a cluster may never have room for it."""
    ready, waiting = ScriptedWorker(), ScriptedWorker(WAITS)
    assert run(tmp_path, waiting, ready).count("done") == 4
    assert ready.videos == ["a", "b", "c", "d"] and waiting.videos == []
    assert ready.ended and waiting.ended


def test_a_worker_that_dies_is_replaced_and_its_video_comes_first(tmp_path):
    deaths = ["b", "c", "c"]
    team = [ScriptedWorker(deaths=deaths) for _ in range(5)]
    outcome = run(tmp_path, *team)
    assert [row.state for row in outcome.rows] == ["done", "done", "failed", "done"]
    assert "ended 2 times; it was killed" in outcome.rows[2].error
    tried = [video for worker in team for video in worker.videos]
    assert sorted(tried) == list("abbccd")
    assert all(worker.ended or not worker.videos for worker in team)


def test_workers_that_die_while_they_load_end_the_batch_at_last(tmp_path):
    """If one works, the batch goes on with that one."""
    with pytest.raises(InputError, match=r"loaded the weights \(it was killed\)"):
        run(tmp_path, *[ScriptedWorker(DIES) for _ in range(4)])
    team = [ScriptedWorker(DIES), ScriptedWorker(), ScriptedWorker(DIES)]
    assert run(tmp_path, *team).count("done") == 4
    assert team[1].videos == ["a", "b", "c", "d"]


def test_machines_that_do_not_segment_alike_are_refused(tmp_path):
    other = ScriptedWorker({"weights": "others"})
    with pytest.raises(InputError, match=r"not segment alike \(weights was 'those'"):
        run(tmp_path, ScriptedWorker(), other)
    assert other.ended


# Workers -----------------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Makes this process a worker; gives a function that segments a video."""
    monkeypatch.setattr(batch_worker, "prepare_jax", lambda: None)
    monkeypatch.setattr(batch_worker, "share_processor", lambda: None)

    def begin(home="elsewhere", **settings):
        root, config = tmp_path / "root", SegmentConfig(**settings)
        batch = BatchJob(root, load_squares, config, home=home)
        batch_worker.begin_anywhere(batch, os.getcwd(), None)
        about = batch_worker.load()
        return lambda video: batch_worker.segment(
            Row(str(video), video.stem), 0.0
        ), functools.partial(BatchFolder(root).claim, about)

    return begin


def test_a_machine_must_see_the_folder_and_the_videos(worker, tmp_path):
    video = write_video(tmp_path / "a.mp4", scene(2))
    segment, make_root = worker()
    with pytest.raises(InputError, match=r"root: .* sees no batch.json there, which"):
        segment(video)
    assert not (tmp_path / "root").exists()
    make_root()
    assert segment(video).state == "done"
    lost = segment(tmp_path / "none.mp4")
    assert lost.state == "failed" and "no such file or folder" in lost.error
    assert "all machines must have the videos at the same paths as else" in lost.error


def test_a_flow_network_is_read_once_for_videos_of_all_sizes(
    worker, tmp_path, monkeypatch
):
    flow_network.replace_network(monkeypatch)
    weights = flow_network.write_weights(tmp_path)
    segment, make_root = worker(flow="raft_small", flow_weights=str(weights))
    make_root()
    weights.unlink()  # So that it cannot be read again.
    for name, size in (("small", (48, 64)), ("large", (64, 96))):
        video = write_video(tmp_path / f"{name}.mp4", scene(2, size))
        row = segment(video)
        assert (row.state, row.frames) == ("done", 2), row.error


def test_each_process_takes_cores_that_are_free(monkeypatch):
    here = [10**6 + 2 * os.getpid() + number for number in range(2)]  # No real ones.
    kept = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*here})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: kept.append(cores))
    workers.take_free_cores(1)
    assert kept and all(cores == here[:1] for cores in kept)
    kept.clear()
    workers.take_free_cores(5)
    assert kept and all(cores == here[1:] for cores in kept)
    kept.clear()
    workers.take_free_cores(1)  # It keeps all that there are.
    assert kept == []


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--engine", "ray"], 2, 'repository: pip install ".[ray]".'),
        (["--engine", "ray", "--devices-per-job", "0"], 2, "--devices-per-job is 0"),
        (["--engine", "ray", "--retries", "-1"], 2, "--retries is -1, expected 0"),
        (["--jobs", "-1"], 2, "--jobs is -1, expected 0"),
        (["--shard", "2/2"], 0, "no video is left for shard 2/2"),
    ],
)
def test_without_ray_or_a_video_a_line_says_so(
    tmp_path, monkeypatch, capsys, options, status, message
):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)
    video, out = tmp_path / "a.mp4", tmp_path / "out"
    assert app.main(["segment", str(video), "--out", str(out), *options]) == status
    said = "".join(capsys.readouterr())
    assert message in said and said.count("\n") == 1
    assert not out.exists()
