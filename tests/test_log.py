"""The log of a run: what is in it, and what is left when a run ends at any moment."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from movseg_jax.errors import InputError
from movseg_jax.train import log as log_module
from movseg_jax.train import throughput
from movseg_jax.train.log import FILE, KEPT_PICTURES, TIMINGS, Log, read_log

ROOT = Path(__file__).parents[1]
SETTINGS = settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GREY = np.full((4, 6, 3), 128, np.uint8)


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)


def opened(workdir, step=0, **options):
    return Log(workdir, step, steps=100, batch=4, **{"quiet": True} | options)


def train(log, first, last, every=5):
    """Writes the rows of a run whose numbers depend on the step only."""
    for step in range(first + 1, last + 1):
        log.advance(step)
        if step % every == 0:
            values = {"mask": np.float32(1 / step), "class": np.float32(step) / 7}
            log.write(step, values | {"loss": sum(values.values())})
        if step % (2 * every) == 0:
            log.write_evaluation(step, {"AP": step / 1000})


def comparable(workdir):
    rows = read_log(workdir)
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


# Rows ------------------------------------------------------------------------------


def test_a_row_holds_the_step_the_loss_and_then_the_rest(tmp_path):
    with opened(tmp_path) as log:
        log.write(20, {"class": np.float32(0.1), "loss": np.float32(0.3), "n": 7})
    (row,) = read_log(tmp_path)
    assert list(row) == ["step", "loss", "class", "n", *TIMINGS]
    assert row["step"] == 20 and row["n"] == 7 and row["images_per_second"] is None
    line = (tmp_path / FILE).read_text()
    assert line.startswith('{"step": 20, "loss": 0.3, "class": 0.1, "n": 7, ')
    assert line.endswith("}\n")


@SETTINGS
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_written_short_and_without_loss(tmp_path, value):
    with opened(tmp_path) as log:
        log.write(1, {"loss": np.float32(value)})
    (row,) = read_log(tmp_path)
    assert np.float32(row["loss"]) == np.float32(value)
    assert float(f"{row['loss']:.9g}") == row["loss"]
    (tmp_path / FILE).unlink()


def test_what_is_not_finite_becomes_null(tmp_path):
    values = {"a": math.nan, "b": np.float32(np.inf), "c": -math.inf, "d": None}
    with opened(tmp_path) as log:
        log.write(1, values)
        log.write_evaluation(1, values)
    for row in read_log(tmp_path):
        assert [row[name] for name in values] == [None] * 4
    assert "NaN" not in (tmp_path / FILE).read_text()


def test_values_on_a_device_are_written_as_those_of_numpy(tmp_path):
    import jax.numpy as jnp

    with opened(tmp_path) as log:
        log.write(1, {"a": jnp.float32(0.1), "b": jnp.int32(3), "c": jnp.bfloat16(2)})
    (row,) = read_log(tmp_path)
    assert (row["a"], row["b"], row["c"]) == (0.1, 3, 2.0)


@pytest.mark.parametrize("name", ["step", "kind", *TIMINGS])
def test_the_log_s_own_names_cannot_be_taken(tmp_path, name):
    with opened(tmp_path) as log, pytest.raises(ValueError, match="the log's own"):
        log.write(1, {name: 3.0})


def test_an_array_is_not_a_value(tmp_path):
    with opened(tmp_path) as log, pytest.raises(ValueError):
        log.write(1, {"loss": np.ones(2)})


def test_the_rate_counts_from_the_first_step_and_without_pauses(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(log_module.time, "perf_counter", lambda: clock[0])

    def after(seconds):
        clock[0] += seconds

    with opened(tmp_path) as log:
        after(60.0)  # Compiling.
        log.advance(1)
        after(2.0)
        log.write(5, {})
        with log.pause():
            after(30.0)
        after(5.0)
        log.write(10, {})
    first, second = read_log(tmp_path)
    assert first["images_per_second"] == 4 * 4 / 2
    assert second["images_per_second"] == 4 * 5 / 5
    assert (first["seconds"], second["seconds"]) == (62.0, 97.0)
    with opened(tmp_path, 10) as log:
        after(3.0)
        log.write(15, {})
    assert list(read_log(tmp_path))[-1]["seconds"] == 100.0


def test_other_processes_than_the_first_write_and_print_nothing(tmp_path, capsys):
    with opened(tmp_path / "run", active=False, quiet=False) as log:
        train(log, 0, 20)
        log.write_pictures(20, {"a": GREY})
        log.note("done")
        log.sync()
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/run/log\.jsonl: cannot be written"):
        opened(tmp_path / "file" / "run")


# Going on --------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [12, 14, 15, 20, 23])
def test_a_run_that_goes_on_logs_what_an_uninterrupted_one_does(tmp_path, killed):
    with opened(tmp_path / "whole") as log:
        train(log, 0, 40)
    with opened(tmp_path / "parts") as log:
        train(log, 0, killed)
    with opened(tmp_path / "parts", 12) as log:
        assert all(row["step"] <= 12 for row in read_log(tmp_path / "parts"))
        train(log, 12, 40)
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")


def test_a_run_that_starts_again_keeps_no_row_of_training(tmp_path):
    with opened(tmp_path) as log:
        log.write_evaluation(0, {"AP": 0.0})
        train(log, 0, 40)
    with opened(tmp_path) as log:
        log.write_evaluation(0, {"AP": 0.0})
        assert comparable(tmp_path) == [{"step": 0, "kind": "evaluation", "AP": 0.0}]


def test_rows_of_a_step_that_has_them_are_not_written_again(tmp_path):
    with opened(tmp_path) as log:
        train(log, 0, 20)
    before = (tmp_path / FILE).read_bytes()
    with opened(tmp_path, 20) as log:
        log.write(20, {"loss": 1.0})
        log.write_evaluation(20, {"AP": 1.0})
    assert (tmp_path / FILE).read_bytes() == before


def test_opening_leaves_a_whole_log_untouched(tmp_path):
    with opened(tmp_path) as log:
        train(log, 0, 20)
    before = (tmp_path / FILE).stat()
    with opened(tmp_path, 20):
        after = (tmp_path / FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_line_torn_anywhere_is_repaired(tmp_path):
    """Cut at every byte of the last row: either it is there whole, or it is not."""
    with opened(tmp_path) as log:
        train(log, 0, 15)
    path = tmp_path / FILE
    whole, rows = path.read_bytes(), comparable(tmp_path)
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        kept = rows if cut == len(whole) - 1 else rows[:-1]
        assert comparable(tmp_path) == kept
        with opened(tmp_path, 15):
            pass
        assert path.read_bytes() == (whole if kept == rows else whole[:last])


def test_a_tail_of_zeros_from_a_power_cut_is_repaired(tmp_path):
    with opened(tmp_path) as log:
        train(log, 0, 15)
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(300))
    with opened(tmp_path, 15):
        assert path.read_bytes() == whole


def test_damage_before_the_last_line_is_not_repaired(tmp_path):
    with opened(tmp_path) as log:
        train(log, 0, 15)
    path = tmp_path / FILE
    damaged = path.read_bytes().replace(b"}\n", b"\n", 1)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"log\.jsonl: line 1: .* is not a row"):
        opened(tmp_path, 15)
    assert path.read_bytes() == damaged


def test_a_killed_process_leaves_all_rows_it_wrote(tmp_path):
    code = (
        "import sys; from pathlib import Path; from movseg_jax.train.log import Log\n"
        "log = Log(Path(sys.argv[1]), 0, steps=9, batch=1, quiet=True)\n"
        "for step in range(1, 10**9):\n"
        "    log.write(step, {'loss': 1.0})\n"
        "    print(step, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as output:
        seen = [int(output.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        seen += [int(line) for line in output if line.endswith(b"\n")]
    assert process.wait() == -signal.SIGKILL
    steps = [row["step"] for row in read_log(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= seen[-1]
    with opened(tmp_path, 30) as log:
        log.write(31, {"loss": 1.0})
    assert [row["step"] for row in read_log(tmp_path)] == list(range(1, 32))


def test_a_full_disk_is_an_error_and_the_log_stays_readable(tmp_path):
    """Files of this process may have 2000 bytes; then a write is cut off, or fails."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from movseg_jax.errors import InputError\n"
        "from movseg_jax.train.log import Log, read_log\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "log = Log(Path(sys.argv[1]), 0, steps=9, batch=1, quiet=True)\n"
        "try:\n"
        "    for step in range(1, 100): log.write(step, {'loss': 1.0})\n"
        "except InputError as error:\n"
        "    assert 'log.jsonl: cannot be written' in str(error)\n"
        "    print(step)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    failed = int(done.stdout)
    assert [row["step"] for row in read_log(tmp_path)] == list(range(1, failed))


# Reading ---------------------------------------------------------------------------

MALFORMED = {
    "text": ("loss 3", "is not a row"),
    "nothing": ("", "is not a row"),
    "a list": ("[1]", "is not a row"),
    "a half": ('{"step": 1, "lo', "is not a row"),
    "deep": ("[" * 50_000, "is not a row"),
    "a number of many digits": ('{"step": ' + "9" * 5000 + "}", "is not a row"),
    "long": ('{"step": 1' + " " * 2**16 + "}", "longer than 65536 bytes (log.MAX_LINE"),
    "no step": ('{"loss": 1}', "step is 'None'"),
    "a fraction of a step": ('{"step": 1.5}', "step is '1.5', expected a whole number"),
    "a step before the first": ('{"step": -1}', "step is '-1'"),
    "a truth": ('{"step": true}', "step is 'True'"),
    "a step too far": ('{"step": 9007199254740993}', "(log.MAX_STEP)"),
    "another kind": ('{"step": 1, "kind": "test"}', "kind is 'test', expected"),
    "kind of null": ('{"step": 1, "kind": null}', "kind is 'None', expected"),
    "NaN": ('{"step": 1, "loss": NaN}', "'loss' is 'nan', expected null or"),
    "infinity": ('{"step": 1, "loss": 1e999}', "'loss' is 'inf', expected"),
    "a large number": ('{"step": 1, "loss": 1e301}', "(log.MAX_VALUE)"),
    "text as loss": ('{"step": 1, "loss": "3"}', "'loss' is '3', expected"),
    "a nested loss": ('{"step": 1, "loss": {"a": 1}}', "'loss' is"),
    "a step again": ('{"step": 0}', "step 0 comes after step 0: two processes wrote"),
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED.keys())
def test_the_error_names_the_line_and_what_is_wrong_with(malformed, tmp_path):
    line, message = malformed
    (tmp_path / FILE).write_text(f'{{"step": 0}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(InputError) as error:
        list(read_log(tmp_path))
    assert str(error.value).startswith(f"{tmp_path / FILE}: line 2: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a training run"):
        list(read_log(tmp_path / "nowhere"))


def test_a_folder_in_place_of_the_log_is_an_error(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        list(read_log(tmp_path))


def test_an_empty_log_has_no_rows(tmp_path):
    (tmp_path / FILE).write_text("")
    assert list(read_log(tmp_path)) == []


NUMBERS = st.none() | st.integers(-(2**70), 2**70) | st.floats() | st.booleans()
LINES = st.one_of(
    st.fixed_dictionaries(
        {"step": st.integers(-1, 20) | NUMBERS},
        optional={"kind": st.sampled_from(["evaluation", "x", None]), "loss": NUMBERS},
    ).map(lambda row: json.dumps(row).encode() + b"\n"),
    st.dictionaries(st.text(), NUMBERS | st.text()).map(
        lambda row: json.dumps(row).encode() + b"\n"
    ),
    st.binary(max_size=20),
    st.sampled_from([b"\n", b"\r\n", b"{}", b"\xff\xfe", b'{"step": 5}', b"\0" * 9]),
)


@SETTINGS
@given(lines=st.lists(LINES, max_size=6), step=st.integers(0, 20))
@example(lines=[b'{"step": 5}'], step=7)
def test_any_bytes_are_rows_or_an_error_that_names_the_file(tmp_path, lines, step):
    path = tmp_path / FILE
    path.write_bytes(b"".join(lines))
    try:
        rows = list(read_log(tmp_path))
    except InputError as error:
        assert str(error).startswith(f"{path}: line ")
        with pytest.raises(InputError):
            opened(tmp_path, step)
        assert path.read_bytes() == b"".join(lines)
        return
    with opened(tmp_path, step) as log:
        log.write(step + 1, {"loss": 2.0})
    kept = [row for row in rows if row["step"] <= step]
    assert list(read_log(tmp_path))[:-1] == kept


def test_a_flipped_bit_is_an_error_or_changes_its_row_only(tmp_path):
    with opened(tmp_path) as log:
        train(log, 0, 10)
    path, rows = tmp_path / FILE, list(read_log(tmp_path))
    content = path.read_bytes()
    errors = 0
    for place, bit in np.ndindex(len(content), 8):
        line = content[:place].count(b"\n")
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            read = list(read_log(tmp_path))
        except InputError as error:
            # A row whose step grew is found out by the next one of its kind.
            assert int(str(error).split(": line ")[1].split(":")[0]) > line
            errors += 1
        else:
            assert read[:line] == rows[:line]
            assert read[line + 1 :] == rows[line + 1 :]
    assert errors > len(content)


# Showing ---------------------------------------------------------------------------


def test_without_a_terminal_every_report_is_a_line(tmp_path, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(log_module.time, "perf_counter", lambda: clock[0])
    with opened(tmp_path, 10, quiet=False) as log:
        log.advance(11)
        clock[0] = 100.0
        log.write(20, {"loss": np.float32(1.5), "learning_rate": 0.02})
        log.write_evaluation(20, {"AP": 0.25, "J": math.nan})
        log.note("saved")
        clock[0] = 200.0
        log.write(30, {"loss": math.nan})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "step 20/100: loss 1.5, learning rate 0.02, 0.36 images/s, 0:13:20 left",
        "step 20, evaluation: AP 0.25, J not finite",
        "saved",
        "step 30/100: loss not finite, 0.4 images/s, 0:11:40 left",
    ]


def test_quiet_prints_nothing(tmp_path, capsys):
    with opened(tmp_path) as log:
        train(log, 0, 20)
        log.note("saved")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(throughput.sys.stderr, "isatty", lambda: True, raising=False)
    with opened(tmp_path, 10, quiet=False) as log:
        train(log, 10, 40)
        log.note("a line of its own")
    err = capsys.readouterr().err
    assert "step 40/100 |" in err and "loss 5.739" in err and " left" in err
    assert "a line of its own\n" in err
    assert "step 40, evaluation: AP 0.04\n" in err


# Pictures --------------------------------------------------------------------------


def test_pictures_of_the_latest_steps_are_kept(tmp_path):
    with opened(tmp_path) as log:
        for step in range(10, 90, 10):
            log.write_pictures(step, {"a": GREY, "b/../c": GREY})
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    steps = range(90 - 10 * KEPT_PICTURES, 90, 10)
    assert names == [
        f"{step:08}_{name}.png" for step in steps for name in ("a", "b%2F..%2Fc")
    ]
    with Image.open(tmp_path / "pictures" / names[0]) as picture:
        np.testing.assert_array_equal(np.array(picture), GREY)


def test_pictures_of_steps_that_come_again_are_removed(tmp_path):
    with opened(tmp_path) as log:
        for step in (10, 20, 30):
            log.write_pictures(step, {"a": GREY})
        (tmp_path / "pictures" / "mine.png").write_bytes(b"")
    with opened(tmp_path, 10):
        names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["00000010_a.png", "mine.png"]


class FakeWriter:
    """Records what TensorBoard would be handed."""

    def __init__(self, folder, purge_step):
        self.calls = [("open", folder, purge_step)]
        type(self).latest = self

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, *args))


def test_tensorboard_gets_scalars_and_pictures_if_it_is_installed(
    tmp_path, monkeypatch
):
    fake = types.ModuleType("tensorboardX")
    fake.SummaryWriter = FakeWriter
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    with opened(tmp_path, 10) as log:
        log.write(20, {"loss": 1.5, "class": math.nan})
        log.write_evaluation(20, {"AP": 0.5})
        log.write_pictures(20, {"a": GREY})
    calls = FakeWriter.latest.calls
    assert calls[:2] == [
        ("open", str(tmp_path / "tensorboard"), 11),
        ("add_scalar", "train/loss", 1.5, 20),
    ]
    assert ("add_scalar", "evaluation/AP", 0.5, 20) in calls
    assert "train/class" not in {call[1] for call in calls[1:] if len(call) > 1}
    assert ("add_image", "a") in {call[:2] for call in calls}
    assert [call[0] for call in calls[-2:]] == ["flush", "close"]
    assert not (tmp_path / "pictures").exists()


def test_tensorboard_itself_reads_what_was_written(tmp_path, monkeypatch):
    monkeypatch.undo()
    pytest.importorskip("tensorboardX")
    with opened(tmp_path) as log:
        train(log, 0, 20)
        log.write_pictures(20, {"a": GREY})
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"train/mask" in content and b"evaluation/AP" in content
    assert b"\x89PNG" in content


def test_jax_is_not_imported():
    code = (
        "import sys, movseg_jax.train.log, movseg_jax.train.plot\n"
        "sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_row_costs_little(tmp_path):
    values = {name: np.float32(1.5) for name in "abcdefgh"}
    with opened(tmp_path) as log:
        began = time.process_time()
        for step in range(1, 1001):
            log.write(step, values)
    assert time.process_time() - began < 1.0  # Seconds; it takes 0.05.
    assert os.path.getsize(tmp_path / FILE) < 200_000
