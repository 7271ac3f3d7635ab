"""The command line, as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import movseg_jax as ms
from movseg_jax.cli import app
from movseg_jax.cli.app import main
from movseg_jax.config import Config
from movseg_jax.config_json import from_json
from movseg_jax.data.sources import open_source
from movseg_jax.flow.files import read_flow
from movseg_jax.model.weights import load_weights
from movseg_jax.system import process
from tests.oracles import hashed_weights, unpack_shapes


def movseg(*arguments, **environment):
    code = "import sys; from movseg_jax.cli.app import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def test_help_is_instant():
    """It does not wait for JAX and Flax, however slow the machine is."""

    def seconds(run) -> float:  # Of processors, which other tests do not take away.
        before = os.times()
        run()
        after = os.times()
        spent = after.children_user + after.children_system
        return spent - before.children_user - before.children_system

    def show():
        result = movseg("--help")
        assert result.returncode == 0
        assert "demo" in result.stdout and "convert" in result.stdout

    def import_network():
        subprocess.run([sys.executable, "-c", "import jax, flax"], check=True)

    ratio = min(seconds(show) for _ in range(3)) / seconds(import_network)
    assert ratio < 0.5


def test_the_version_is_printed():
    result = movseg("--version")
    assert result.returncode == 0 and result.stdout == f"movseg {ms.__version__}\n"


@pytest.mark.parametrize("package", ["cv2", "optax"])
def test_a_package_that_is_missing_is_one_line(package, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)

    def needs(*_):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("movseg_jax.cli.convert.Convert.run", needs)
    status = main(["convert", str(tmp_path / "a.pth"), "--out", str(tmp_path / "b")])
    [line] = capsys.readouterr().err.splitlines()
    assert status == 2 and repr(package) in line and "movseg doctor" in line


@pytest.mark.slow
def test_verbose_says_where_an_error_was_found(tmp_path):
    arguments = (
        "convert",
        tmp_path / "none.pth",
        "--out",
        tmp_path / "out.safetensors",
    )
    quiet, verbose = movseg(*arguments), movseg(*arguments, "-v")
    assert quiet.returncode == verbose.returncode == 2
    assert len(quiet.stderr.splitlines()) == 1
    assert "Traceback" in verbose.stderr and verbose.stderr.endswith(quiet.stderr)


def test_the_shell_can_complete_commands_and_options():
    script = movseg("--tyro-print-completion", "bash")
    assert script.returncode == 0
    assert "convert-tracks" in script.stdout and "--overwrite" in script.stdout


def test_the_config_that_would_be_trained_is_printed(capsys):
    tiny = str(Path(__file__).parents[1] / "configs/tiny.py")
    assert main(["train", tiny, "--print-config", "--train.steps", "7"]) == 0
    config = from_json(Config, capsys.readouterr().out)
    assert config.train.steps == 7
    assert main(["train", tiny]) == 2
    assert "needs --workdir and --data-dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["segment", "demo", "eval", "convert-tracks", "flow", "synth", "data prepare",
     "data check", "data list", "batch", "bench", "train", "plot", "fusion-lab",
     "convert"],
)  # fmt: skip
def test_the_help_of_a_command_says_what_happens_without_an_option(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([*command.split(), "--help"])
    assert exit.value.code in (0, None)
    said = capsys.readouterr().out
    assert f"usage: movseg {command}" in said
    assert said.count("default: None") <= said.count("Default:")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "demo"),
        (["dmeo"], "dmeo"),
        (["demo", "--weight", "x"], "--weight"),
        (["convert", "x.pth"], "--out"),
        (["convert", "none.pth", "--out", "x.safetensors"], "none.pth"),
        (["demo", "--weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path):
    result = movseg(*arguments, XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("movseg: ") and message in line


@pytest.mark.slow
def test_the_demo_finds_what_moves(tmp_path, monkeypatch):
    # That of the fixture `compilation_cache`, if a test before has used it.
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    out, home = tmp_path / "out", {"XDG_CACHE_HOME": str(tmp_path)}
    result = movseg("demo", "--out", out, **home)
    assert result.returncode == 0, result.stderr
    (scores,) = re.findall(r"J (0\.\d+), F (0\.\d+)", result.stdout)
    assert all(float(score) > 0.5 for score in scores), result.stdout
    names = {path.name for path in (out / "result").iterdir()}
    assert names >= {"masks", "tracks.json", "overlay.mp4", "report.html", "run.json"}
    cache = tmp_path / "movseg_jax" / "xla"
    assert cache.stat().st_mode & 0o777 == 0o700
    assert any(cache.iterdir())
    again = movseg("demo", "--out", out, **home)
    assert again.returncode == 0 and "compiling" not in again.stdout
    assert f"J {scores[0]}, F {scores[1]}" in again.stdout


@pytest.mark.slow
def test_convert_writes_weights_that_load(tmp_path):
    golden = Path(__file__).parent / "golden" / "resnet50.npz"
    weights = hashed_weights(unpack_shapes(np.load(golden)["weights"]))
    save_file(weights, tmp_path / "theirs.safetensors")
    arguments = ["convert", tmp_path / "theirs.safetensors", "--out"]
    ours = tmp_path / "new" / "weights" / "ours.safetensors"
    result = movseg(*arguments, ours)
    assert result.returncode == 0, result.stderr
    assert "a backbone without heads (appearance)" in result.stdout
    loaded = load_weights(ours)
    assert list(loaded.params["appearance"]) == ["resnet"]
    again = movseg(*arguments, ours)
    assert again.returncode == 2 and "overwrite" in again.stderr
    unusable = movseg("demo", "--weights", ours)
    assert unusable.returncode == 2 and "has no rpn, box_head" in unusable.stderr


def test_what_the_user_sets_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    process.prepare_jax()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


@pytest.mark.parametrize("value", ["", "cache"])
def test_the_cache_is_in_the_home_folder_unless_it_is_set(monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", value and str(tmp_path / value))
    assert process.user_cache() == tmp_path / (value or ".cache") / "movseg_jax"


@pytest.mark.parametrize(("variable", "expected"), [({}, 1), ({"NUM": "3"}, 3)])
def test_flow_leaves_the_processor_to_the_detector(variable, expected):
    code = "import cv2; from movseg_jax.system.process import share_processor; "
    code += "share_processor(); print(cv2.getNumThreads())"
    more = {f"OPENCV_FOR_THREADS_{name}": value for name, value in variable.items()}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | more,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [str(expected)]


def test_what_makes_jax_fast_does_so_after_its_import(tmp_path):
    """Also where JAX, which reads the environment when it is imported, came first."""
    code = (
        "import jax; from movseg_jax.system.process import prepare_jax; prepare_jax(); "
        "print(jax.config.jax_compilation_cache_dir,"
        " jax.config.jax_persistent_cache_min_compile_time_secs)"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [str(tmp_path / "movseg_jax" / "xla"), "1.0"]


def test_a_home_that_cannot_be_written_to_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    process.prepare_jax()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def make_frames(folder, count=4):
    """A texture that moves 3 pixels to the right."""
    folder.mkdir(parents=True)
    texture = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    texture = np.asarray(Image.fromarray(texture).resize((160, 96)))
    for i in range(count):
        Image.fromarray(np.roll(texture, 3 * i, axis=1)).save(folder / f"{i:05d}.png")


def test_flow_of_a_folder_is_written_and_not_written_twice(tmp_path):
    make_frames(tmp_path / "frames")
    result = movseg("flow", tmp_path / "frames", "--out", tmp_path / "flow")
    assert result.returncode == 0, result.stderr
    assert "wrote the flow of 3" in result.stdout
    flow = read_flow(tmp_path / "flow" / "00001.flo")
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [3, 0], atol=0.1)
    again = movseg("flow", tmp_path / "frames", "--out", tmp_path / "flow", "--quiet")
    assert "3 were there already" in again.stdout and not again.stderr
    other = movseg(
        "flow", tmp_path / "frames", "--out", tmp_path / "flow", "--to", "picture"
    )
    assert other.returncode == 2 and "other settings" in other.stderr


def test_a_data_set_is_checked_prepared_and_read(tmp_path):
    make_frames(tmp_path / "set" / "JPEGImages" / "a")
    masks = tmp_path / "set" / "Annotations" / "a"
    masks.mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.eye(96, 160, i, np.uint8)).save(masks / f"{i:05d}.png")
    folders = ("--manual-dir", tmp_path / "set", "--data-dir", tmp_path / "data")
    result = movseg("data", "prepare", "folder", *folders, "--flow", "dis", "--quiet")
    assert result.returncode == 0, result.stderr
    source = open_source("folder", "all", tmp_path / "data")
    assert len(source) == 4 and list(source.has_flow) == [True] * 3 + [False]
    checked = movseg("data", "check", "folder", *folders[:2])  # Without a split.
    assert checked.returncode == 0 and "folder, all: nothing" in checked.stdout
    (masks / "00002.png").write_bytes(b"no image")
    checked = movseg("data", "check", "folder", *folders[:2], "--split", "all")
    assert checked.returncode == 2 and "00002.png" in checked.stderr


@pytest.mark.parametrize(
    "options, message",
    [
        (["flow=None", "resolution=270", "instances=True"], "ImageSets/270/train.txt"),
        (["size=1"], "--options: "),
        (["flow"], "--options: "),
        (["flow=a", "flow=b"], "given twice"),
    ],
)
def test_options_of_data_sets_are_written_as_they_are_listed(
    options, message, tmp_path
):
    check = ("data", "check", "davis2016", "--manual-dir", tmp_path, "--options")
    result = movseg(*check, *options)
    assert result.returncode == 2 and message in result.stderr


def test_the_data_sets_are_listed_with_their_options():
    result = movseg("data", "list")
    assert "davis2016: " in result.stdout and "resolution=480p" in result.stdout
    wrong = movseg("data", "check", "davis", "--manual-dir", ".")
    assert wrong.returncode == 2 and "Did you mean" in wrong.stderr


@pytest.mark.slow
def test_clips_are_rendered_once_and_can_be_read(tmp_path):
    size = ("--scene.size", "48", "64", "--scene.frames", "3")
    result = movseg("synth", "--out", tmp_path / "s", "--clips", "2", *size, "--quiet")
    assert result.returncode == 0, result.stderr
    source = open_source("rendered", "all", tmp_path / "s")
    assert len(source) == 6 and source[0].flow is not None
    more = movseg("synth", "--out", tmp_path / "s", "--clips", "3", *size, "--quiet")
    assert "3 clips, 1 of them new" in more.stdout
    other = movseg("synth", "--out", tmp_path / "s", "--seed", "1", *size)
    assert other.returncode == 2 and "another seed" in other.stderr


@pytest.mark.parametrize("command", ["segment", "eval"])
def test_verbose_may_stand_before_the_command_that_resumes(command, monkeypatch):
    statuses = []
    monkeypatch.setattr(
        app.Interrupts, "start", lambda self: statuses.append(self.status)
    )
    monkeypatch.setattr(app.Interrupts, "stop", lambda self, process_ends: None)
    monkeypatch.setattr(app, "_run", lambda arguments: 0)
    for arguments in ([command], ["-v", command], [command, "--verbose"]):
        assert app.main(arguments) == 0
    assert statuses == [75 if command == "segment" else 130] * 3
