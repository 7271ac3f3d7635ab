"""Paths of every command: none replaces what it reads, none takes an address."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tyro

from movseg_jax import images
from movseg_jax.cli import app
from movseg_jax.cli.arguments import check_paths, read_config
from movseg_jax.cli.convert import Convert
from movseg_jax.cli.convert_tracks import ConvertTracks
from movseg_jax.cli.data import Check, List, Prepare
from movseg_jax.cli.demo import Demo
from movseg_jax.cli.detect import Detect
from movseg_jax.cli.evaluate import Eval
from movseg_jax.cli.flow import Flow
from movseg_jax.cli.plot import Plot
from movseg_jax.cli.segment import Segment
from movseg_jax.cli.synth import Synth
from movseg_jax.cli.train import Train
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import read_tracks

COMMANDS = [
    Segment, Demo, ConvertTracks, Flow, Synth, Prepare, Check, List, Eval, Train, Plot,
    Convert, Detect,
]  # fmt: skip
DATASET = ["--dataset", "davis2016", "--split", "val"]
# What a command with --overwrite is given, to read IN and to write OUT.
READS_AND_WRITES = {
    "segment": (Segment, ["IN", "--out", "OUT"]),
    "segment, flow": (Segment, ["0", "--flow", "IN", "--out", "OUT"]),
    "segment, weights": (Segment, ["0", "--weights", "IN", "--out", "OUT"]),
    "demo": (Demo, ["--weights", "IN", "--out", "OUT"]),
    "convert-tracks": (ConvertTracks, ["IN", "--to", "masks", "--out", "OUT"]),
    "convert-tracks, video": (
        ConvertTracks,
        ["x.json", "--video", "IN", "--to", "cutouts", "--out", "OUT"],
    ),
    "flow": (Flow, ["IN", "--out", "OUT"]),
    "synth": (Synth, ["--backgrounds", "IN", "--out", "OUT"]),
    "synth, cutouts": (Synth, ["--cutouts", "IN", "--out", "OUT"]),
    "data prepare, flow": (
        Prepare,
        ["davis2016", "--manual-dir", "x", "--flow", "IN", "--data-dir", "OUT"],
    ),
    "data prepare": (Prepare, ["davis2016", "--manual-dir", "IN", "--data-dir", "OUT"]),
    "detect": (Detect, [*DATASET, "--data-dir", "IN", "--out", "OUT"]),
    "detect, flow": (
        Detect,
        [*DATASET, "--data-dir", "x", "--flow", "IN", "--out", "OUT"],
    ),
    "eval": (Eval, ["davis16", "--pred", "IN", "--out", "OUT"]),
    "eval, data": (
        Eval,
        ["davis16", "--pred", "x", "--data-dir", "IN", "--out", "OUT"],
    ),
    "eval, truth": (Eval, ["masks", "--pred", "x", "--gt", "IN", "--html", "OUT"]),
    "convert": (Convert, ["IN", "--out", "OUT"]),
    "convert, heads": (Convert, ["x", "--appearance-heads", "IN", "--out", "OUT"]),
}


def command(case, read, write, *options):
    kind, arguments = READS_AND_WRITES[case]
    if kind is Prepare and Path(write).name == "movseg":
        write = Path(write).parent
    places = {"IN": str(read), "OUT": str(write)}
    arguments = [places.get(argument, argument) for argument in arguments]
    return tyro.cli(kind, args=[*arguments, *options])


def test_every_command_that_replaces_files_says_what_it_reads_and_writes():
    replacing = [kind for kind in COMMANDS if "overwrite" in fields(kind)]
    assert {kind for kind, _ in READS_AND_WRITES.values()} == {*replacing} - {Plot}
    for kind in replacing:
        assert hasattr(kind, "inputs") and hasattr(kind, "outputs"), kind


def fields(kind):
    return {field.name for field in dataclasses.fields(kind)}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with frames at the path "data/movseg", and links to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "movseg" / "below").mkdir(parents=True)
    (tmp_path / "data" / "movseg" / "0.png").write_bytes(
        images.encode_png(np.zeros((4, 4, 3), np.uint8))
    )
    (tmp_path / "links").mkdir()
    os.symlink(tmp_path / "data" / "movseg", tmp_path / "links" / "movseg")
    os.symlink("../data", tmp_path / "links" / "above")
    return tmp_path


OVERLAPS = {
    "data/movseg": "is",
    "links/movseg": "is",
    "links/above/movseg": "is",
    "data/../data/movseg/": "is",
    "data/movseg/below": "lies in",
    "data/movseg/new/deeper": "lies in",
    "links/movseg/new": "lies in",
    "data": "contains",
    "links/above": "contains",
    ".": "contains",
}


@pytest.mark.parametrize("write", OVERLAPS)
@pytest.mark.parametrize("case", READS_AND_WRITES)
def test_an_output_that_overlaps_with_an_input_is_refused(case, write, place):
    if case.startswith("data prepare") and not write.rstrip("/").endswith("movseg"):
        return  # It writes to a folder of this name.
    for read in ("data/movseg", place / "data" / "movseg", "links/movseg"):
        for options in ([], ["--overwrite"]):
            with pytest.raises(InputError, match=f"written {OVERLAPS[write]} what"):
                check_paths(command(case, read, write, *options))


@pytest.mark.parametrize("case", READS_AND_WRITES)
def test_an_output_beside_an_input_is_not_refused(case, place):
    reads_video = case in ("segment", "flow", "convert-tracks, video")
    for write in ("out", "data/out/movseg", "links/new", "data/movseg2", "data/movse"):
        assert check_paths(command(case, "data/movseg", write)) is None
        if not reads_video:  # It tells that itself.
            assert check_paths(command(case, "missing", write)) is None


def of(kind, read, write, **options):
    """A command that takes one video, or several."""
    return kind((read,) if kind is Segment else read, Path(write), **options)


def test_frames_of_a_pattern_and_single_files_are_not_replaced(place):
    frame = place / "data" / "movseg" / "0.png"
    for kind in (Flow, Segment):
        for read in (str(frame), f"{frame.parent}/*.png", "links/movseg/*.png"):
            for write in (frame.parent, "links/movseg", "data"):
                with pytest.raises(InputError, match="written contains what is read"):
                    check_paths(of(kind, read, write, overwrite=True))
            check_paths(of(kind, read, frame.parent / "new"))
    with pytest.raises(InputError, match="written is what is read"):
        check_paths(Convert(frame, Path("links/movseg/0.png"), overwrite=True))
    card = place / "data" / "weights.json"
    card.touch()
    with pytest.raises(InputError, match=r"weights\.json: .* is what is read"):
        check_paths(Convert(card, card.with_suffix(".safetensors")))
    os.link(frame, place / "linked.png")
    with pytest.raises(InputError, match="written is what is read"):
        check_paths(Convert(place / "linked.png", frame))
    log = place / "run" / "log.jsonl"
    log.parent.mkdir()
    log.touch()
    check_paths(Plot((log.parent,), log.parent / "curves.html", overwrite=True))
    with pytest.raises(InputError, match="written is what is read"):
        check_paths(Plot((log.parent,), log, overwrite=True))


def test_the_frames_of_a_video_survive(place, capsys):
    frames = place / "data" / "movseg"
    before = {path: path.read_bytes() for path in frames.rglob("*.png")}
    arguments = ["flow", frames, "--to", "picture", "--out", frames, "--overwrite"]
    assert app.main([*map(str, arguments)]) == 2
    assert "what is to be written is what is read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in frames.rglob("*.png")} == before


ADDRESSES = {
    "segment": ["az://b/v.mp4", "--out", "x"],
    "segment ": ["v.mp4", "--out", "az://bucket/x"],
    "segment  ": ["v.mp4", "--out", "x", "--weights", "s3://bucket/x"],
    "segment   ": ["http://example.com/v.mp4", "--out", "x"],
    "segment    ": ["v.mp4", "--out", "x", "--flow", "gs://bucket/flow"],
    "demo": ["--out", "gs://bucket/x"],
    "convert-tracks": ["gs://bucket/x", "--out", "x", "--to", "masks"],
    "convert-tracks ": ["x", "--out", "gs://bucket/x", "--to", "masks"],
    "flow": ["rtsp://camera/1", "--out", "x"],
    "flow ": ["x", "--out", "file:///tmp/x"],
    "synth": ["--out", "gs://bucket/x"],
    "synth ": ["--out", "x", "--backgrounds", "gs://bucket/x"],
    "data prepare": ["davis2016", "--manual-dir", "gs://b/x", "--data-dir", "x"],
    "data prepare ": ["davis2016", "--manual-dir", "x", "--data-dir", "gs://bucket/x"],
    "data check": ["davis2016", "--manual-dir", "gs://bucket/x"],
    "detect": [*DATASET, "--data-dir", "gs://bucket/x", "--out", "x.json"],
    "eval": ["davis16", "--pred", "gs://bucket/x", "--data-dir", "x"],
    "eval ": ["davis16", "--pred", "x", "--data-dir", "gs://bucket/x"],
    "eval  ": ["davis16", "--pred", "x", "--data-dir", "x", "--out", "gs://b/x.json"],
    "train": ["c.py", "--workdir", "az://bucket/x", "--data-dir", "x"],
    "train    ": [
        "c.py", "--workdir", "gs://bucket/x", "--data-dir", "x", "--certify", "2",
    ],
    "train ": ["c.py", "--workdir", "x", "--data-dir", "gs://bucket/x"],
    "train  ": ["gs://bucket/c.py", "--workdir", "x", "--data-dir", "x"],
    "train   ": [
        "c.py", "--workdir", "x", "--data-dir", "x", "--train.start.weights", "gs://bucket/x",
    ],
    "plot": ["runs/a", "gs://bucket/x"],
    "plot ": ["runs/a", "--out", "gs://bucket/x.html"],
    "convert": ["gs://bucket/x.pth", "--out", "x.safetensors"],
    "convert ": ["x.pth", "--out", "gs://bucket/x.safetensors"],
}  # fmt: skip


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses_are_refused_at_once(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "movseg_jax.system.process.prepare_jax", lambda: pytest.fail("not at once")
    )
    assert app.main([*name.split(), *ADDRESSES[name]]) == 2
    [line] = capsys.readouterr().err.splitlines()
    [address] = [a for a in ADDRESSES[name] if "://" in a]
    scheme, _, rest = address.partition("://")
    assert f"{scheme}://{rest.lstrip('/')} is an address" in line
    assert "expected a path" in line
    assert not list(tmp_path.iterdir())


def test_an_address_in_a_config_is_refused(tmp_path):
    config = Path(__file__).parents[1] / "configs" / "tiny.py"
    assert read_config(config, []).train.start.weights == ""
    with pytest.raises(InputError, match="gs://bucket/x is an address"):
        read_config(config, ["--train.start.weights=gs://bucket/x"])


def test_what_only_looks_like_an_address_is_a_path(place):
    for name in ("C:/video", "a:b", "12:/x", "x/gs://y", "--x"):
        assert check_paths(Segment(("0",), Path(name))) is None


def test_folders_of_outputs_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("movseg_jax.system.process.prepare_jax", lambda: None)
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        ids = np.zeros((24, 32), np.uint8)
        ids[4:12, 4 + i : 12 + i] = 1
        (frames / f"{i}.png").write_bytes(images.encode_ids(ids))

    def run(*arguments):
        assert app.main([*map(str, arguments)]) == 0, capsys.readouterr().err

    new = tmp_path / "new"
    run("flow", frames, "--out", new / "a" / "flow", "--quiet")
    assert (new / "a" / "flow" / "1.flo").is_file()
    run("convert-tracks", frames, "--to", "npz", "--out", new / "b" / "c" / "t.npz")
    assert len(read_tracks(new / "b" / "c" / "t.npz")) == 3
    size = ("--scene.size", 32, 32, "--scene.frames", 2)
    run(
        "synth",
        "--out",
        new / "d" / "e",
        "--clips",
        1,
        "--workers",
        1,
        "--quiet",
        *size,
    )
    assert (new / "d" / "e" / "JPEGImages").is_dir()
    (tmp_path / "pred").mkdir()
    for name in ("pred", "truth"):
        shutil.copytree(frames, tmp_path / name / "sequence", dirs_exist_ok=True)
    out, html = new / "f" / "g" / "m.json", new / "h" / "i" / "m.html"
    paths = ("--pred", tmp_path / "pred", "--gt", tmp_path / "truth")
    run(
        "eval", "masks", *paths, "--out", out, "--html", html, "--workers", 1, "--quiet"
    )
    assert out.is_file() and html.is_file()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 1, "loss": 1.5}\n')
    run("plot", tmp_path / "run", "--out", new / "j" / "k" / "curves.html")
    assert (new / "j" / "k" / "curves.html").is_file()
