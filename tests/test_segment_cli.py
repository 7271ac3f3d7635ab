"""`movseg segment` as users start it: statuses, signals, kills, full disks, memory."""

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from movseg_jax.cli import app
from movseg_jax.cli.segment import Segment
from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import load_detector
from movseg_jax.model.parameters import parameter_shapes
from movseg_jax.model.weights import save_weights
from movseg_jax.segment.api import segment_video
from movseg_jax.segment.run import RECORD as RECORD_NAME
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.run_folder import WORK
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.signals import STOPPED
from movseg_jax.video.reading import Frame
from tests.fakes.commands import finish, started_commands, wait_for
from tests.fakes.square_detector import (
    background,
    make_detector,
    scene,
    write_images,
    write_video,
)
from tests.oracles import random_params
from tests.test_segment import after, recorded_frames, results

ROOT = Path(__file__).parents[1]
RECORD = Path(WORK) / RECORD_NAME


@pytest.fixture(scope="module")
def start():
    """Starts the command for a video."""
    with started_commands() as start:
        yield lambda source, out, *options, **others: start(
            source, "--out", out, *options, **others
        )


def frames_done(out):
    record = out / RECORD
    return recorded_frames(record)


@pytest.fixture
def squares(monkeypatch):
    """The command in this process, with a detector of squares."""
    detector = [make_detector()]
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)
    monkeypatch.setattr(
        "movseg_jax.model.loading.load_detector", lambda *_, **__: detector[0]
    )
    return detector


def segment(source, out, *options):
    return app.main(["segment", str(source), "--out", str(out), "--quiet", *options])


# Statuses --------------------------------------------------------------------------


def test_the_command_says_what_it_did(squares, tmp_path, capsys):
    shots, out = write_images(tmp_path / "shots", scene(3)), tmp_path / "out"
    assert segment(shots, out, "--timing", "--why") == 0
    said = capsys.readouterr()
    assert "finished, 1 track in 3 frames" in said.out and "ms/frame" in said.out
    assert said.err == ""
    assert segment(shots, out, "--why") == 0
    assert "finished already" in capsys.readouterr().out
    assert segment(shots, out) == 2
    assert "settings.why was True, is False" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reading", "changes"),
    [
        (["--as-paper"], "release", {}),
        (["--as-paper", "text"], "text", {}),
        (["--as_paper=text", "--min-frames", "2"], "text", {"min_frames": 2}),
        (["--find-cuts", "--as-paper"], "release", {"find_cuts": True}),
    ],
)
def test_as_paper_stands_for_settings_that_other_options_change(
    options, reading, changes, squares, tmp_path
):
    shots, out = write_images(tmp_path / "shots", scene(2)), tmp_path / "out"
    assert app.main(["segment", *options, str(shots), "--out", str(out)]) == 0
    expected = dataclasses.replace(SegmentConfig.as_paper(reading), **changes)
    run = json.loads((out / "run.json").read_text())
    written = json.loads(json.dumps(dataclasses.asdict(expected)))
    assert run["about"]["settings"] == written


@pytest.mark.parametrize(
    ("options", "max_side", "flow"),
    [
        (["--fast"], 352, "dis_fast"),
        (["--flow", "farneback", "--fast"], 352, "farneback"),
        (["--fast", "--max-side=240"], 240, "dis_fast"),
        ([], None, "dis"),
    ],
)
def test_fast_stands_for_settings_that_other_options_change(options, max_side, flow):
    command = app.parse(["segment", "v.mp4", *options])
    assert isinstance(command, Segment)
    assert (command.max_side, command.config.flow) == (max_side, flow)


def test_the_paper_s_tracker_keeps_what_is_never_seen_to_move(tmp_path):
    """Only the text does not track backwards: see test_track.py."""
    still = [next(scene(1))] * 3
    detector = make_detector()
    frames = [Frame(i, f"{i}", image, None) for i, image in enumerate(still)]
    assert segment_video(frames, detector)[0].sightings == ()
    for reading in ("release", "text"):
        found = segment_video(frames, detector, SegmentConfig.as_paper(reading))
        assert [len(frame.sightings) for frame in found] == [1, 1, 1]


def test_a_video_of_one_frame_is_said_to_have_no_motion(squares, tmp_path, capsys):
    shots = write_images(tmp_path / "shots", scene(1))
    assert segment(shots, tmp_path / "out") == 0
    assert "finished, 0 tracks in 1 frame.\nOne frame alone" in capsys.readouterr().out


def test_a_video_without_tracks_says_which_option_would_give_some(
    squares, tmp_path, capsys
):
    shots = write_images(tmp_path / "shots", scene(3))
    assert segment(shots, tmp_path / "out", "--track.start-score", "0.99") == 0
    said = capsys.readouterr().out
    assert "best score of a detection is 0.95" in said
    assert "--track.start-score sets a lower threshold" in said


def test_every_page_of_a_file_is_a_frame_and_dark_ones_are_noted_once(
    squares, tmp_path, capsys
):
    pages = [image[..., 0].astype(np.uint16) * 257 // 16 for image in scene(3)]
    pages = [Image.fromarray(page) for page in pages]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert segment(tmp_path / "a.tif", tmp_path / "dark") == 0
    said = capsys.readouterr()
    assert "in 3 frames" in said.out
    [note] = said.err.splitlines()
    assert note.startswith("movseg: note: ") and "--white 4095" in note
    assert segment(tmp_path / "a.tif", tmp_path / "out", "--white", "4095") == 0
    said = capsys.readouterr()
    assert "1 track in 3 frames" in said.out and said.err == ""
    assert segment(tmp_path / "a.tif", tmp_path / "dark", "--white", "4095") == 2
    assert "settings.white was None, is 4095" in capsys.readouterr().err


def test_a_default_folder_that_cannot_be_made_is_refused_with_what_to_do(
    squares, tmp_path, monkeypatch, capsys
):
    video = write_video(tmp_path / "v.mp4", scene(3))
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: path != tmp_path)
        assert app.main(["segment", str(video), "--quiet"]) == 2
        assert "v_movseg: cannot be made, since" in (said := capsys.readouterr().err)
        assert said.endswith("choose a folder with --out.\n")
        assert segment(video, tmp_path / "out") == 0
    assert not (tmp_path / "v_movseg").exists()


def test_a_stopped_command_has_a_status_of_its_own(squares, tmp_path, capsys):
    shots, out = write_images(tmp_path / "shots", scene(5)), tmp_path / "out"
    squares[0] = make_detector(after(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(SystemExit) as stopped:
        segment(shots, out)
    assert stopped.value.code == 75
    assert "stopped at frame" in capsys.readouterr().out
    assert segment(shots, out) == 0


def test_a_damaged_video_is_reported_after_its_results(squares, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", scene(30))
    # Its index is in front, so that frames can be read up to the cut.
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 3 // 4])
    out = tmp_path / "out"
    for _ in range(2):
        assert segment(video, out) == 2
        said = capsys.readouterr()
        assert "track in" in said.out and "damaged after" in said.err
        assert "The results are of" in said.err
        assert said.err.count("--allow-truncated") == 1
    assert (out / "overlay.mp4").is_file()
    assert segment(video, out, "--allow-truncated") == 0
    assert segment(video, tmp_path / "other", "--allow-truncated") == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "has no images"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"no video" * 99), "cannot be read as a video"),
        (
            lambda path: path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(999)),
            "cannot be read as a video",
        ),
    ],
)
def test_what_is_no_video_is_refused_in_a_line(
    squares, tmp_path, capsys, make, message
):
    make(tmp_path / "video")
    assert segment(tmp_path / "video", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


# Processes -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_shots(start, tmp_path_factory):
    """A video, and what a run leaves that nothing disturbs."""
    folder = tmp_path_factory.mktemp("long")
    shots = write_images(folder / "shots", scene(15, (48, 80)))
    process = start(shots, folder / "out", "--save", "cutouts", "mots")
    assert finish(process)[0] == 0
    return shots, results(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_process_with_status_75(start, long_shots, tmp_path, number):
    shots, expected = long_shots
    process = start(shots, tmp_path, "--save", "cutouts", "mots", pause=0.1)
    wait_for(lambda: frames_done(tmp_path) > 3, process)
    with pytest.raises(InputError, match="another process"):
        segment_to_folder(str(shots), tmp_path, make_detector())
    process.send_signal(number)
    status, said, _ = finish(process)
    assert status == 75 and "stopped at frame" in said
    assert 3 < frames_done(tmp_path) < 15
    assert finish(start(shots, tmp_path, "--save", "cutouts", "mots"))[0] == 0
    assert results(tmp_path) == expected


@pytest.mark.slow
def test_a_second_signal_ends_a_process_at_once(start, long_shots, tmp_path):
    process = start(long_shots[0], tmp_path, pause=30.0)
    wait_for(lambda: (tmp_path / RECORD).exists(), process)
    time.sleep(1.0)  # Until it waits for the detector.
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    assert process.wait(10) == STOPPED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_the_results_are_the_same(
    start, long_shots, tmp_path, seed
):
    shots, expected = long_shots
    chance = random.Random(seed)
    options = ("--save", "cutouts", "mots")
    claimed, killed = tmp_path / WORK / "run.json", 0
    for _ in range(4):
        before = claimed.stat().st_mtime_ns if claimed.exists() else 0
        process = start(shots, tmp_path, *options, pause=0.2)
        wait_for(
            lambda b=before: claimed.exists() and claimed.stat().st_mtime_ns > b,
            process,
        )
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        if (tmp_path / "run.json").exists():
            break
    assert killed
    assert finish(start(shots, tmp_path, *options))[0] == 0
    assert results(tmp_path) == expected


@pytest.mark.slow
def test_killed_while_writing_the_results_are_the_same(start, long_shots, tmp_path):
    shots, expected = long_shots
    options = ("--save", "cutouts", "mots")
    # The overlay is there at the end, with the report; until then it has another name.
    for result in ("tracks.json", "masks", "cutouts", "mots.txt", ".overlay.mp4.*"):
        process = start(shots, tmp_path, *options)
        wait_for(lambda pattern=result: [*tmp_path.glob(pattern)], process)
        process.kill()
        process.wait()
        assert not (tmp_path / "run.json").exists()
    assert finish(start(shots, tmp_path, *options))[0] == 0
    assert results(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1500, 3000, 8000, 12000])
def test_a_full_disk_is_an_input_error_and_the_run_goes_on_later(
    start, long_shots, tmp_path, limit
):
    shots, expected = long_shots
    options = ("--save", "cutouts", "mots")
    status, _, said = finish(start(shots, tmp_path, *options, file_limit=limit))
    assert status == 2 and "cannot be written" in said
    assert not [path for path in tmp_path.rglob("*.tmp")]
    assert finish(start(shots, tmp_path, *options))[0] == 0
    assert results(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("out", ["/proc/out", "/dev/null", "/dev/null/out"])
def test_an_impossible_folder_is_an_input_error(start, long_shots, out):
    status, _, said = finish(start(long_shots[0], out))
    assert status == 2 and out in said and said.count("\n") == 1


PEAK = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_platforms", "cpu")
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from tests.fakes.square_detector import make_detector, scene, write_video
from tests.memory import peak_megabytes
settings = SegmentConfig(save=("coco", "mots", "cutouts", "foreground"))
source = segment_to_folder(sys.argv[1], Path(sys.argv[2]), make_detector(), settings)
print(peak_megabytes())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    def pictures(count):
        shots = list(scene(16, (120, 160)))
        return (shots[abs(i % 30 - 15)] for i in range(count))

    peaks = []
    for count in (60, 600):
        video = write_video(tmp_path / f"{count}.mp4", pictures(count))
        command = [sys.executable, "-c", PEAK, str(video), str(tmp_path / str(count))]
        done = subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True
        )
        peaks.append(float(done.stdout))
    print("peak RSS in MB:", peaks)
    assert peaks[1] < peaks[0] + 8


# Weights: a small real model ---------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory, quick_compilation):
    """Random weights of a small joint model."""
    config = small_model()
    params = jax.device_get(random_params(parameter_shapes(config)))
    # Random heads find nothing with a score of note; these find many.
    for heads in (params, params["static"]):
        heads["box_head"]["logits"]["bias"] = np.array([-3.0, 3.0], np.float32)
    path = tmp_path_factory.mktemp("weights") / "joint.safetensors"
    save_weights(path, params, config, card={})
    return path, params, config


def test_the_hash_of_weights_is_that_of_their_file(weights):
    """As `sha256sum` gives it, and the card, whatever is used of the weights."""
    hashed = hashlib.sha256(weights[0].read_bytes()).hexdigest()
    card = json.loads(weights[0].with_suffix(".json").read_text())
    assert card["sha256"] == hashed
    for use in (None, "appearance"):
        assert load_detector(weights[0], use=use).digest == hashed


def small_model():
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    return ModelConfig(
        appearance=trunk,
        motion=trunk,
        static_branch=True,
        mask_features="appearance",
        channels=8,
        box_head_width=16,
        short_side=64,
        long_side=96,
        anchor_size=4.0,
        proposals=50,
        min_score=0.0,
    )


@pytest.mark.slow
def test_the_static_branch_alone_finds_what_it_finds_in_the_joint_model(weights):
    joint = load_detector(weights[0])
    alone = load_detector(weights[0], use="appearance")
    assert "motion" not in alone.params and joint.config != alone.config
    frame = background((64, 96))
    flow = np.random.default_rng(0).normal(0, 3, (64, 96, 2)).astype(np.float32)
    both = joint(stack([make_inputs(frame, flow, joint.config)]))
    one = alone(stack([make_inputs(frame, None, alone.config)]))
    assert one.static is None and int(one.moving.valid.sum()) > 0
    for name, a, b in zip(one.moving._fields, one.moving, both.static, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_without_the_static_branch_a_model_finds_the_same_moving_objects(weights):
    joint, moving = load_detector(weights[0]), load_detector(weights[0], static=False)
    assert "static" not in moving.params
    frame = background((64, 96))
    flow = np.random.default_rng(0).normal(0, 3, (64, 96, 2)).astype(np.float32)
    inputs = stack([make_inputs(frame, flow, joint.config)])
    both, one = joint(inputs), moving(inputs)
    assert one.static is None
    for a, b in zip(one.moving, both.moving, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_a_model_cannot_be_used_as_is_refused_with_what_it_can(weights):
    path, params, config = weights
    with pytest.raises(InputError, match=r"model of motion; expected joint or appear"):
        load_detector(path, use="motion")
    with pytest.raises(InputError, match="`max_side` is 8"):
        load_detector(path, max_side=8)
    assert load_detector(path, max_side=64).config.long_side == 64
    trunk = {name: params[name] for name in ("appearance", "motion")}
    save_weights(path.with_name("trunk.safetensors"), trunk, config, card={})
    message = r"trunk.safetensors: has no rpn, box_head, mask_head, static: .*hand in"
    with pytest.raises(InputError, match=message):
        load_detector(path.with_name("trunk.safetensors"))
    for garbage in (b"", b"garbage" * 99):
        bad = path.with_name("bad.safetensors")
        bad.write_bytes(garbage)
        bad.with_suffix(".json").write_bytes(path.with_suffix(".json").read_bytes())
        with pytest.raises(InputError, match=r"bad.safetensors: damaged"):
            load_detector(bad)
    with pytest.raises(InputError, match=r"has no weights\.safetensors"):
        load_detector(path.parent)
    with pytest.raises(InputError, match="no such file"):
        load_detector(path.with_name("none.safetensors"))


@pytest.mark.slow
def test_weights_that_do_not_fit_their_model_are_refused(weights, tmp_path):
    _, params, config = weights
    wider = dataclasses.replace(config, channels=config.channels * 2)
    save_weights(tmp_path / "wider.safetensors", params, wider, card={})
    detector = load_detector(tmp_path / "wider.safetensors")
    with pytest.raises(InputError, match=r"wider.safetensors: .* but \(.*in the model"):
        segment_video(frames_of((64, 96), 2), detector)


def frames_of(size, count):
    from movseg_jax.video.reading import Frame

    pictures = (background(size, seed) for seed in range(count))
    return [Frame(i, f"{i:05d}", image, None) for i, image in enumerate(pictures)]


@pytest.mark.slow
def test_there_is_one_compilation_for_each_size_of_frames(weights, caplog):
    detector = load_detector(weights[0])
    counts = []
    with jax.log_compiles():
        for size, count in (((64, 64), 5), ((60, 60), 3)):
            caplog.clear()
            assert len(segment_video(frames_of(size, count), detector)) == count
            compiled = [r for r in caplog.messages if "Finished XLA compilation" in r]
            counts.append(len(compiled))
    # The second size is enlarged to the first.
    assert counts == [1, 0]


# Memory ----------------------------------------------------------------------------

PEAK = """
import sys
from movseg_jax.cli.app import main
from tests.memory import peak_megabytes
sys.argv = ["movseg", *sys.argv[1:]]
main()
print(peak_megabytes())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measured with glibc only")
def test_memory_of_the_package_s_model_is_what_the_docs_say(tmp_path):
    """docs/performance.md: at most 720 MB once programs are compiled, 1 GB before."""
    texture = background((480, 854))
    pictures = (np.roll(texture, 3 * i, axis=1) for i in range(8))
    shots = write_images(tmp_path / "shots", pictures)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    # Tests simulate several devices, and set JAX's own cache.
    own = {k: v for k, v in environment.items() if not k.startswith(("XLA_", "JAX_C"))}
    command = [sys.executable, "-c", PEAK, "segment", str(shots), "--quiet", "--out"]
    peaks = []
    for name in ("first", "second"):
        done = subprocess.run(
            [*command, str(tmp_path / name)],
            cwd=ROOT, env=own, capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(float(done.stdout.split()[-1]))
    assert peaks[0] < 1200 and peaks[1] < 780, peaks
