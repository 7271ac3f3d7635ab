"""`movseg eval` as users run it: statuses, messages of one line, files, Control-C."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from movseg_jax import images
from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.system import process
from movseg_jax.system.workers import run
from tests.fakes import layouts

ROOT = Path(__file__).parents[1]
DAVIS = ("blackswan", "bmx-trees", "cows")
CHROMIUM = shutil.which("chromium")
COMMAND = """
import sys
from movseg_jax.cli.app import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("davis")
    layouts.davis2016(root, [("val", DAVIS)])
    return root


@pytest.fixture
def pred(tmp_path):
    for name in DAVIS:
        for i in range(4):
            ids = np.roll(layouts.truth(i), 1, axis=1)
            file = tmp_path / "pred" / name / f"{i:05d}.png"
            layouts.write(file, images.encode_ids(ids))
    return tmp_path / "pred"


@pytest.fixture(autouse=True)
def no_jax(monkeypatch):
    monkeypatch.setattr(process, "prepare_jax", lambda: None)


def movseg(data, pred, *options, protocol="davis16"):
    arguments = ["--pred", pred, "--data-dir", data, "--workers", "1", "--quiet"]
    arguments += ["--draws", "5"]
    return app.main(["eval", protocol, *map(str, [*arguments, *options])])


def test_the_command_prints_a_table_and_writes_both_files(data, pred, tmp_path, capsys):
    out, html = tmp_path / "metrics.json", tmp_path / "report.html"
    assert movseg(data, pred, "--out", out, "--html", html) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for word in ("J mean", "blackswan", "all", "95 %", "first and the last", "Table 5"):
        assert word in said.out
    report = json.loads(out.read_bytes())
    assert report["movseg eval"] == "davis16"
    assert report["numbers"]["J-mean"]["value"] < 1
    assert len(report["sequences"]) == 3
    assert html.read_bytes().startswith(b"<!doctype html>")
    assert movseg(data, pred, "--out", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    before = out.read_bytes()
    assert movseg(data, pred, "--out", out, "--overwrite") == 0
    assert out.read_bytes() == before


def test_reports_among_the_predictions_are_none(data, pred, tmp_path, capsys):
    assert movseg(data, pred, "--out", pred / "metrics.json", "--overwrite") == 2
    assert "lies in what is read" in capsys.readouterr().err
    assert movseg(data, pred, "--out", tmp_path / "metrics.json") == 0
    (tmp_path / "metrics.json").rename(pred / "metrics.json")
    assert movseg(data, pred) == 0
    (pred / "other.json").write_text("{}")
    capsys.readouterr()
    assert movseg(data, pred) == 2
    assert "other" in capsys.readouterr().err


def test_the_files_of_a_batch_are_no_predictions(data, pred, capsys):
    (pred / "batch.json").write_text("{}")
    assert movseg(data, pred) == 2  # It might be a video of that name.
    assert "batch" in capsys.readouterr().err
    (pred / "batch.jsonl").write_text("{}")
    assert movseg(data, pred) == 0


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(data, pred, tmp_path):
    files = []
    for workers in (1, 2):
        out, html = (tmp_path / f"{workers}{end}" for end in (".json", ".html"))
        assert (
            movseg(data, pred, "--workers", workers, "--out", out, "--html", html) == 0
        )
        files.append((out.read_bytes(), html.read_bytes()))
    assert files[0] == files[1]


@pytest.mark.slow
def test_errors_in_workers_are_errors_of_the_command(data, pred, tmp_path, capsys):
    for name in DAVIS[:2]:
        file = pred / name / "00001.png"
        file.write_bytes(file.read_bytes()[:-60])  # Its header is whole.
    out = tmp_path / "metrics.json"
    arguments = [
        "--pred", pred, "--data-dir", data, "--quiet", "--out", out, "--workers", "2",
    ]  # fmt: skip
    assert app.main(["eval", "davis16", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert all(f"{name}/00001.png" in said.err for name in DAVIS[:2])
    assert not out.exists()


def damage(pred, data):
    (pred / "cows" / "00002.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)


def cut(pred, data):
    file = pred / "cows" / "00002.png"
    file.write_bytes(file.read_bytes()[:-60])


def corrupt_json(pred, data):
    shutil.rmtree(pred / "cows")
    (pred / "cows.json").write_text('{"videos": [{"id": 1')


def empty(pred, data):
    shutil.rmtree(pred)
    pred.mkdir()


def one_missing(pred, data):
    (pred / "cows" / "00001.png").unlink()


@pytest.mark.parametrize(
    "spoil, options, message",
    [
        (damage, (), "00002.png"),
        (cut, (), "00002.png"),
        (corrupt_json, (), "cows.json: is not JSON"),
        (empty, (), "3 of 3 sequences are missing"),
        (one_missing, (), "cows: 1 frames are missing in the prediction: 00001"),
        (None, ("--out", "/dev/null/metrics.json"), "/dev/null: cannot be made"),
        (None, ("--html", "/usr"), "is a folder"),
        (None, ("--out", "a", "--html", "a"), "the same file"),
        (None, ("--worst", "-1"), "--worst is -1"),
        (None, ("--background", "infer"), "--background has no effect on davis16"),
        (None, ("--gt", "x"), "--gt has no effect"),
        (None, ("--join", "x"), "--join has no effect"),
        (None, ("--max-tracks", "3"), "--max-tracks has no effect"),
        (None, ("--options", "resolution=1p"), "holds 480p"),
        (None, ("--split", "nosuch"), "has no split 'nosuch'"),
        (None, ("--data-dir", "nosuch"), "nosuch"),
        (None, ("--temporal", "c++"), "c++"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    spoil, options, message, data, pred, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if spoil:
        spoil(pred, data)
    before = sorted(tmp_path.rglob("*"))
    options = options if "--out" in options else (*options, "--out", "metrics.json")
    assert movseg(data, pred, *options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("movseg: ") and message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_no_truth_and_no_protocol_are_told(data, pred, capsys):
    assert app.main(["eval", "davis16", "--pred", str(pred)]) == 2
    assert "--data-dir is missing" in capsys.readouterr().err
    assert app.main(["eval", "masks", "--pred", str(pred)]) == 2
    assert "--gt is missing" in capsys.readouterr().err
    assert app.main(["eval", "davis", "--pred", str(pred)]) == 2
    assert "davis17-moving" in capsys.readouterr().err


def test_two_folders_are_compared(pred, capsys):
    folders = ["--pred", str(pred), "--gt", str(pred), "--workers", "1", "--quiet"]
    folders += ["--draws", "5"]
    assert app.main(["eval", "masks", *folders]) == 0
    said = capsys.readouterr().out
    assert "object IoU" in said and "100.0" in said
    assert app.main(["eval", "masks", *folders, "--foreground"]) == 0
    assert "J mean" in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_that_dies_is_told():
    with pytest.raises(InputError, match="Try `workers=1`"):
        list(run(os._exit, [3, 3], 2))


@pytest.mark.slow
def test_jax_is_not_imported(data, pred):
    code = (
        "import sys\n"
        "from movseg_jax import cli\n"
        "status = cli.main(sys.argv[1:])\n"
        "found = {'jax', 'flax', 'tensorflow', 'torch', 'grain'} & sys.modules.keys()\n"
        "sys.exit(f'imported {found}' if found else status)"
    )
    arguments = ["eval", "davis16", "--pred", pred, "--data-dir", data, "--quiet"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--workers", "1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr


def children(pid):
    """Processes whose parent is this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def running(pid):
    """Whether a process is there and not just waiting for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_control_c_ends_all_processes_and_writes_nothing(workers, tmp_path):
    layouts.davis2016(tmp_path / "data", [("val", DAVIS)])
    for name in DAVIS:
        for kind in ("JPEGImages", "Annotations"):
            folder = tmp_path / "data" / kind / "480p" / name
            (first,) = folder.glob("00000.*")
            for i in range(4, 3000):
                os.link(first, folder / f"{i:05d}{first.suffix}")
    annotations = tmp_path / "data" / "Annotations" / "480p"
    command = ["eval", "davis16", "--pred", annotations, "--workers", str(workers)]
    command += ["--data-dir", tmp_path / "data", "--out", tmp_path / "m.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started = time.monotonic()
    while time.monotonic() < started + 60:
        if workers == 1 or len(children(process.pid)) >= workers:
            break
        time.sleep(0.05)
    time.sleep(3)
    below = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "" and "Traceback" not in errors
    # Sequences may be done already; their bar is removed.
    said = [line for line in errors.splitlines() if "sequence/s]" not in line]
    assert "".join(said).strip() == "movseg: interrupted."
    assert not (tmp_path / "m.json").exists()
    time.sleep(1)
    assert not [pid for pid in below if running(pid)]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_page(data, pred, tmp_path):
    colourful = {}
    for worst in (0, 3):
        html, picture = tmp_path / f"{worst}.html", tmp_path / f"{worst}.png"
        assert movseg(data, pred, "--html", html, "--worst", worst) == 0
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--enable-logging=stderr", "--window-size=900,2400"]
        shown = subprocess.run(
            [*command, f"--screenshot={picture}", html.as_uri()],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert "Refused to" not in shown.stderr and "CONSOLE" not in shown.stderr
        pixels = images.read_rgb(picture)
        assert pixels.shape == (2400, 900, 3)
        # Paper and ink; the style was applied.
        assert (pixels == 255).all(axis=2).mean() > 0.3 and pixels.min() < 60
        colourful[worst] = (np.ptp(pixels.astype(int), axis=2) > 20).mean()
    # Six noisy pictures, each of which is 430 pixels wide: a third of the window.
    assert colourful[0] < 0.01 and colourful[3] > 0.15


# COCO's files ----------------------------------------------------------------------


@pytest.fixture
def coco_files(tmp_path):
    square = {"image_id": 1, "bbox": [10, 10, 20, 20]}
    truth = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            square | {"id": 1, "category_id": 1, "iscrowd": 0, "area": 400}
        ],
    }
    results = [square | {"category_id": 2, "score": 0.9}]
    files = tmp_path / "results.json", tmp_path / "instances.json"
    for file, content in zip(files, (results, truth), strict=True):
        file.write_text(json.dumps(content))
    return files


def eval_coco(files, *options):
    pred, gt = files
    arguments = ["eval", "coco", "--pred", pred, "--gt", gt, *options]
    return app.main([str(argument) for argument in arguments])


def test_categories_count_unless_they_are_stacked(coco_files, tmp_path, capsys):
    for options, ap in (((), 0.0), (("--stacked",), 1.0)):
        out = tmp_path / f"{ap}.json"
        assert eval_coco(coco_files, "--out", out, *options) == 0
        written = json.loads(out.read_text())
        assert written["numbers"]["box_ap"] == ap
        assert len(written["sha256"]["gt"]) == 64
        assert f"box_ap {100 * ap:10.1f}" in capsys.readouterr().out
        assert eval_coco(coco_files, "--out", out, "--overwrite", *options) == 0
        assert json.loads(out.read_text()) == written


@pytest.mark.parametrize(
    "options, word",
    [(["--split", "val"], "--split"), (["--html", "a.html"], "--html")],
)
def test_options_that_mean_nothing_to_coco_are_refused(
    coco_files, capsys, options, word
):
    assert eval_coco(coco_files, *options) == 2
    assert f"{word} has no effect on coco" in capsys.readouterr().err


def test_bad_files_of_coco_are_one_line(coco_files, capsys):
    coco_files[0].write_text("[{}]")
    assert eval_coco(coco_files) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "results.json" in said


def test_output_that_nobody_reads_to_its_end_is_no_error():
    command = [sys.executable, "-c", COMMAND, "data", "list"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
