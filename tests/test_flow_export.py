"""Flow of videos written to folders: complete, resumable and never mixed up."""

import json
import os
import time

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.cli.flow import Flow
from movseg_jax.errors import InputError
from movseg_jax.flow import export
from movseg_jax.flow.colour_wheel import flow_picture
from movseg_jax.flow.estimators import get_estimator
from movseg_jax.flow.export import FlowCounts, write_flows
from movseg_jax.flow.files import read_flow
from movseg_jax.flow.folder import FlowFolder
from movseg_jax.images import encode_png, read_rgb
from movseg_jax.video.reading import fingerprint


def video(count=4):
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.normal(size=(50, 70, 3)), (0, 0), 2)
    large = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    return [(f"{i:05d}", large[:40, i : i + 60].copy()) for i in range(count)]


def write(frames, out, **options):
    counts = list(write_flows(frames, out, source="a.mp4", **options))
    return counts[-1] if counts else None


@pytest.mark.parametrize("to", ["flo", "pfm", "npz", "kitti", "png"])
def test_a_folder_is_written_that_can_be_read(tmp_path, to):
    frames = video()
    assert write(frames, tmp_path / "out", to=to) == FlowCounts(4, 3, 0)
    folder = FlowFolder(tmp_path / "out")
    flows = list(folder.flows(frames))
    expected = get_estimator()(frames[0][1], frames[1][1])
    tolerance = {"kitti": 1 / 64, "png": 0.2}.get(to, 0)
    assert np.abs(flows[0] - expected).max() <= tolerance
    assert flows[3] is None


def test_pictures_are_middlebury_s(tmp_path):
    frames = video(2)
    write(frames, tmp_path, to="picture", estimator="farneback", working_side=30)
    flow = get_estimator("farneback", 30)(frames[0][1], frames[1][1])
    assert_array_equal(read_rgb(tmp_path / "00000.png"), flow_picture(flow))


def test_progress_is_told_after_each_frame(tmp_path):
    counts = list(write_flows(iter(video(3)), tmp_path, source="a"))
    assert counts == [FlowCounts(1, 0, 0), FlowCounts(2, 1, 0), FlowCounts(3, 2, 0)]


@pytest.mark.parametrize("count, told", [(0, "no frames"), (1, "one frame")])
def test_videos_without_flow_are_refused_and_nothing_is_written(tmp_path, count, told):
    with pytest.raises(InputError, match=rf"a\.mp4: has {told}, .* least 2"):
        write(video(count), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["flo", "png"])
def test_a_run_that_was_stopped_goes_on(tmp_path, to):
    run = write_flows(video(), tmp_path, source="a.mp4", to=to)
    next(run), next(run)
    run.close()
    assert write(video(), tmp_path, to=to) == FlowCounts(4, 2, 1)
    assert write(video(), tmp_path, to=to) == FlowCounts(4, 0, 3)
    for path in tmp_path.glob("00001*"):
        path.unlink()
        assert write(video(), tmp_path, to=to) == FlowCounts(4, 1, 2)


def test_other_settings_are_refused_and_shown(tmp_path):
    write(video(), tmp_path)
    with pytest.raises(InputError, match=r"estimator was 'dis', is 'farneback'.; exp"):
        write(video(), tmp_path, estimator="farneback")
    with pytest.raises(InputError, match=r"source was 'a\.mp4', is 'b\.mp4'"):
        list(write_flows(video(), tmp_path, source="b.mp4"))
    with pytest.raises(InputError, match="working_side was None, is 30"):
        write(video(), tmp_path, working_side=30)


def test_overwriting_leaves_nothing_of_the_other_format(tmp_path):
    write(video(), tmp_path, to="png")
    assert write(video(), tmp_path, to="flo", overwrite=True) == FlowCounts(4, 3, 0)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["00000.flo", "00001.flo", "00002.flo", "flow.json"]
    assert json.loads((tmp_path / "flow.json").read_text())["to"] == "flo"


@pytest.mark.parametrize("to", ["flo", "png"])
def test_overwriting_by_a_shorter_video_leaves_none_of_the_longer(tmp_path, to):
    write(video(5), tmp_path, to=to)
    (tmp_path / "notes.txt").write_text("mine")
    run = write_flows(video(3), tmp_path, source="b", overwrite=True)
    next(run), next(run)
    run.close()  # And goes on:
    assert list(write_flows(video(3), tmp_path, source="b"))[-1] == (3, 1, 1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["00000.flo", "00001.flo", "flow.json", "notes.txt"]


def test_overwriting_removes_no_pictures_that_no_run_wrote(tmp_path):
    (tmp_path / "figure.png").write_text("mine")
    for _ in range(2):
        write(video(), tmp_path, to="png", overwrite=True)
    assert (tmp_path / "figure.png").read_text() == "mine"


def test_files_that_were_emptied_are_written_again(tmp_path):
    write(video(), tmp_path)
    expected = read_flow(tmp_path / "00001.flo")
    (tmp_path / "00001.flo").write_bytes(b"")
    assert write(video(), tmp_path) == FlowCounts(4, 1, 2)
    assert_array_equal(read_flow(tmp_path / "00001.flo"), expected)


def test_a_video_that_changed_has_another_fingerprint(tmp_path):
    frames, clip = tmp_path / "frames", tmp_path / "a.mp4"
    frames.mkdir()
    for name, frame in video(3):
        (frames / f"{name}.png").write_bytes(encode_png(frame))
    clip.write_bytes(b"one")
    sources = [clip, frames, frames / "*.png", frames / "00001.png"]
    for source in sources:
        before = fingerprint(source)
        assert fingerprint(os.path.relpath(source)) == before
        changed = clip if source == clip else frames / "00001.png"
        os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
        assert fingerprint(source) != before
    assert len({*map(fingerprint, sources)}) == 4
    assert fingerprint("7") != fingerprint(7)
    with pytest.raises(InputError, match="no such file"):
        fingerprint(tmp_path / "b.mp4")


@pytest.mark.parametrize("count", [-1, 0, 1])
def test_the_command_needs_two_frames(tmp_path, count):
    with pytest.raises(InputError, match=f"--max-frames {count}: .* at least 2"):
        Flow("missing.mp4", tmp_path, max_frames=count).run()


def test_the_command_knows_other_frames_of_the_same_name(tmp_path):
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for name, frame in video(3):
        (frames / f"{name}.png").write_bytes(encode_png(frame))
    command = Flow(str(frames), out, quiet=True)
    assert "flow of 2" in command.run() and "2 were there" in command.run()
    (frames / "00001.png").write_bytes(encode_png(video(4)[3][1]))
    with pytest.raises(InputError, match=r"other settings .source was"):
        command.run()
    with pytest.raises(InputError, match=r"00001\.png .*has one frame,"):
        Flow(str(frames / "00001.png"), tmp_path / "new", quiet=True).run()


def test_overwriting_replaces_files_of_the_same_moment_or_the_future(tmp_path):
    write(video(), tmp_path)
    future = time.time_ns() + 10**12
    for path in tmp_path.glob("*.flo"):
        os.utime(path, ns=(future, future))
    assert write(video(), tmp_path, overwrite=True) == FlowCounts(4, 3, 0)
    assert write(video(), tmp_path) == FlowCounts(4, 0, 3)


def test_overwriting_can_be_stopped_and_goes_on(tmp_path):
    write(video(), tmp_path)
    old = read_flow(tmp_path / "00002.flo")
    options = {"estimator": "farneback", "overwrite": True}
    run = write_flows(video(), tmp_path, source="a.mp4", **options)
    next(run), next(run)
    run.close()
    assert_array_equal(read_flow(tmp_path / "00002.flo"), old)
    again = write(video(), tmp_path, estimator="farneback")
    assert again == FlowCounts(4, 2, 1)
    assert (read_flow(tmp_path / "00002.flo") != old).any()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / ".DS_Store").touch()
    write(video(2), tmp_path / "new")
    (tmp_path / "00000.flo").write_text("mine")
    with pytest.raises(InputError, match=r"not empty and has no flow\.json"):
        write(video(), tmp_path)
    assert (tmp_path / "00000.flo").read_text() == "mine"
    (tmp_path / "flow.json").write_text("[" * 10_000)
    with pytest.raises(InputError, match=r"flow\.json: is damaged"):
        write(video(), tmp_path)
    with pytest.raises(InputError, match="cannot be made"):
        write(video(), tmp_path / "00000.flo")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/a", ".a", "a\0b", "a\\b"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    frames = [(name, frame) for _, frame in video(2)]
    with pytest.raises(InputError, match=r"not a plain|comes twice"):
        write(frames, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["flow.json"]


def test_a_name_that_comes_twice_is_refused(tmp_path):
    frames = [("a", frame) for _, frame in video(2)]
    with pytest.raises(InputError, match="'a', comes twice"):
        write(frames, tmp_path)


def test_frames_of_different_size_are_named(tmp_path):
    frames = [*video(2), ("x", np.zeros((9, 9, 3), np.uint8))]
    with pytest.raises(InputError, match="frames '00001' and 'x': a frame has 60x40"):
        write(frames, tmp_path)


@pytest.mark.parametrize("to", export.OUTPUTS)
@pytest.mark.parametrize("wrong", ["transposed", "too small", "not finite"])
def test_flow_of_an_estimator_that_is_wrong_is_named_with_its_frames(
    tmp_path, to, wrong
):
    def estimate(frame, next_frame):
        height, width = frame.shape[:2]
        flow = np.zeros((height, width, 2), np.float32)
        flow[3, 4] = np.nan if wrong == "not finite" else 0
        flow = flow.swapaxes(0, 1) if wrong == "transposed" else flow
        return flow[1:] if wrong == "too small" else flow

    with pytest.raises(InputError, match=r"'00000' and '00001': the flow .*40, 60, 2"):
        write(video(), tmp_path, to=to, estimator=estimate)
    assert [path.name for path in tmp_path.iterdir()] == ["flow.json"]


def test_a_format_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"'gif'; expected one of {export.OUTPUTS[0]}"):
        write(video(), tmp_path, to="gif")
