"""Many videos on a Ray cluster: nodes and actors that are lost cost no result."""

import os
import signal

import pytest

from movseg_jax.segment.batch_folder import STATES, BatchFolder
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.run_folder import WORK
from movseg_jax.system.signals import STOPPED
from tests.fakes.commands import finish, started_commands, wait_for
from tests.fakes.square_detector import make_detector, scene, write_video
from tests.test_segment import results

pytestmark = [
    pytest.mark.slow,
    # Ray's threads in this process take memory, which other tests measure.
    pytest.mark.alone,
    # Ray starts its processes by `fork`, followed by `exec` at once.
    pytest.mark.filterwarnings("ignore:os.fork"),
]
NAMES = {"a": 8, "b": 9, "c": 3}  # Videos, and how many frames they have.


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes with a core each, and the node that can be removed."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        yield cluster, cluster.add_node(**node)
        cluster.shutdown()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Videos, one that is none, and the files of each that nothing disturbs."""
    folder, undisturbed = tmp_path_factory.mktemp("clips"), {}
    for name, count in NAMES.items():
        video = write_video(folder / f"{name}.mp4", scene(count))
        out = tmp_path_factory.mktemp("undisturbed") / name
        segment_to_folder(video, out, make_detector())
        undisturbed[name] = results(out)
    (folder / "bad.mp4").write_bytes(b"no video" * 99)
    return folder, undisturbed


@pytest.fixture
def start():
    with started_commands() as start:
        yield start


def files(root):
    return {name: results(root / name) for name in NAMES}


def running(root):
    """The process of each video that is half done, by its name."""
    rows = BatchFolder(root).rows() if (root / STATES).is_dir() else []
    return {
        row.folder: int(row.worker.split(":")[1])
        for row in rows
        if row.state == "running" and any((root / row.folder / WORK).glob("*.sqlite"))
    }


def test_a_lost_node_and_a_killed_actor_give_the_same_bytes(
    start, cluster, clips, tmp_path
):
    root = tmp_path / "root"
    on_ray = ("--engine", "ray", "--address", cluster[0].address)
    driver = start(clips[0], "--out", root, *on_ray, pause=0.5)
    wait_for(lambda: len(running(root)) == 2, driver)
    actors = running(root).values()
    # Each keeps to one core.
    assert [len(os.sched_getaffinity(pid)) for pid in actors] == [1, 1]

    def alive():  # A process that has died may still be there, without this.
        return [pid for pid in actors if os.path.exists(f"/proc/{pid}/exe")]

    cluster[0].remove_node(cluster[1])
    wait_for(lambda: len(alive()) == 1, driver)
    os.kill(*alive(), signal.SIGKILL)
    status, out, errors = finish(driver)
    assert status == 3 and "3 of 4 videos are done, 1 failed" in out
    assert out.count("\n") == 2 and errors.startswith("movseg: bad: ")
    assert errors.count("\n") == 1
    assert files(root) == clips[1]


def test_a_driver_on_ray_shares_with_another_and_can_be_stopped(
    start, cluster, clips, tmp_path
):
    root = tmp_path / "root"
    on_ray = ("--engine", "ray", "--address", cluster[0].address)
    first = start(clips[0], "--out", root, *on_ray, pause=0.5)
    wait_for(lambda: running(root), first)
    second = start(clips[0], "--out", root)
    wait_for(lambda: len(running(root)) == 2, first, second)
    first.send_signal(signal.SIGTERM)
    status, out, _ = finish(first)
    assert status == STOPPED and "stopped, start it again" in out
    status, out, errors = finish(second)
    assert status == 3 and "3 of 4 videos are done, 1 failed" in out, errors
    assert files(root) == clips[1]
