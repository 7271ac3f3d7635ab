"""Errors of the library in the words of the command line."""

import ast
import pickle
from pathlib import Path

import pytest

import movseg_jax
from movseg_jax.cli.app import main
from movseg_jax.cli.flow import Flow
from movseg_jax.cli.messages import in_options
from movseg_jax.cli.segment import Segment
from movseg_jax.cli.synth import Synth
from movseg_jax.errors import InputError
from movseg_jax.system import process
from tests.fakes import square_detector as squares

DAMAGED = InputError(
    "v.mp4: is damaged after 18 frames.",
    way_out="With `allow_truncated=True` these frames are used.",
)


@pytest.fixture(autouse=True)
def as_jax_is(monkeypatch):
    monkeypatch.setattr(process, "prepare_jax", lambda: None)


def test_the_library_names_its_parameters():
    assert str(DAMAGED) == (
        "v.mp4: is damaged after 18 frames. With `allow_truncated=True` these frames "
        "are used."
    )


def test_a_command_names_its_options():
    assert in_options(DAMAGED, [Segment]) == (
        "v.mp4: is damaged after 18 frames. With --allow-truncated these frames are "
        "used."
    )


def test_a_command_leaves_out_ways_that_it_does_not_have():
    assert in_options(DAMAGED, [Flow]) == "v.mp4: is damaged after 18 frames."


@pytest.mark.parametrize(
    "said, kind, expected",
    [
        ("`max_side` is 5.", Segment, "--max-side is 5."),
        ("`max_side` is 5.", Flow, "`max_side` is 5."),
        ('`flow="dis"` estimates.', Segment, "--flow dis estimates."),
        ("TrackConfig.iou is 3.", Segment, "TrackConfig.iou is 3."),
        ("SceneConfig.frames is 0.", Synth, "--scene.frames is 0."),
        ("9 pixels, expected 4 (images.MAX_PIXELS).", Flow, "9 pixels, expected 4."),
        ("Hand in `a.b`.", Flow, "Hand in `a.b`."),
    ],
)
def test_parameters_become_options_where_there_are_such(said, kind, expected):
    assert in_options(InputError(said), [kind]) == expected


def test_a_message_survives_another_process():
    error = pickle.loads(pickle.dumps(DAMAGED))
    assert str(error) == str(DAMAGED) and error.way_out == DAMAGED.way_out


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["segment", "v", "--out", "o", "--x"], "Unrecognized options: --x."),
        (["segment"], "Name a video, or several."),
        (["flow", "v", "--out", "o", "--to", "x"], "invalid choice 'x' for argument"),
        (["data"], "Missing subcommand: Expected one of {prepare, check, list}."),
        (["synth", "--out", "o", "--scene.frames", "0"], "--scene.frames is 0, exp"),
        (["synth", "--out", "o", "--workers", "999"], "--workers is 999, expected 0"),
        (
            ["segment", "v", "--out", "o", "--max-side", "x"],
            "Error parsing --max-side: no type matching {None}|INT could be "
            "instantiated from ['x']. Argument helptext: --max-side",
        ),
        (
            ["segment", "v", "--out", "o", "--track.start-score", "0"],
            "--track.start-score is 0.0, expected at least",
        ),
    ],
)
def test_wrong_arguments_are_said_once_in_one_line(arguments, line, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"movseg: {line}") and said.count("\n") == 1


def test_nothing_else_is_shown_before_an_error(tmp_path, capsys):
    folder = squares.write_images(tmp_path / "frames", squares.scene(3))
    (folder / "shot001.png").write_bytes(b"no picture")
    assert main(["flow", str(folder), "--out", str(tmp_path / "flow")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("movseg: ") and "\r" not in said and said.count("\n") == 1


def test_the_library_names_no_option_that_replaces_files():
    """Most commands have one, but `overwrite` is what callers of the library know."""
    root = Path(movseg_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "InputError":
                below = path.is_relative_to(root / "cli")
                assert below or "--overwrite" not in ast.unparse(node), path
