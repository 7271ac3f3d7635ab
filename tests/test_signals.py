"""Control-C, the process's streams and its devices, as commands meet them."""

import gc
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from movseg_jax.system import process, signals, workers
from movseg_jax.system.progress import progress_bar
from movseg_jax.system.signals import STOPPED, Interrupts
from tests.fakes import layouts
from tests.fakes.square_detector import scene, write_images
from tests.memory import count_arenas
from tests.oracles import hashed_weights, unpack_shapes

ROOT = Path(__file__).parents[1]
# As a terminal starts it, whoever started the tests; it says when `main` begins.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from movseg_jax.cli.app import main
sys.stderr.write("begins\\n")
sys.exit(main())
"""
COMMAND_ALONE = "import sys; from movseg_jax.cli.app import main; sys.exit(main())"
# Swallows the exception as destructors do, and goes on for long.
SWALLOWING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from movseg_jax.cli import app
from movseg_jax.system import signals
signals.GRACE = 0.5
class Destroyed:
    def __del__(self):
        sys.stderr.write("begins\\n")
        time.sleep(30)
def run(arguments):
    Destroyed()
    time.sleep(30)
    return 0
app._run = run
sys.exit(app.main())
"""


def start(code, *arguments, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "begins\n"
    return process


def seconds_of(process, most=3.0):
    """How long a process runs; it is ended after the most that is asked for."""
    began = time.monotonic()
    try:
        process.communicate(timeout=most)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return min(most, time.monotonic() - began)


def interrupt(process, after):
    """Its status and what it says after so many seconds and a signal."""
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


@pytest.fixture
def started():
    """Signals are handled as in a command; the pair that is returned ends that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        patch.setattr(signals, "GRACE", 600.0)  # It would end the tests.
        made = []

        def make(**options):
            made.append(Interrupts(**options))
            made[-1].start()
            return made[-1]

        before = {number: signal.getsignal(number) for number in signals.SIGNALS}
        yield make
        for each in reversed(made):
            each.number = None  # The command has ended.
            each.stop(process_ends=False)
        assert before == {n: signal.getsignal(n) for n in signals.SIGNALS}


def test_a_signal_is_an_exception_and_its_status_is_told(started, capfd):
    commands = started(resumable=False), started(resumable=True)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert commands[1].number == signal.SIGTERM and commands[1].status == STOPPED
    assert commands[0].number is None
    commands[0].number = signal.SIGINT
    assert commands[0].status == 130
    for command in commands:
        command.tell()
        command.tell()
    said = "movseg: interrupted.\nmovseg: interrupted; start it again to resume.\n"
    assert capfd.readouterr().err == said


def test_what_is_ignored_stays_so(started):
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = started(resumable=True)
        signal.raise_signal(signal.SIGINT)
        assert command.number is None
        command.stop(process_ends=False)
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_lost_exception_ends_the_command_all_the_same():
    status, out, errors = interrupt(start(SWALLOWING), 0.2)
    assert (status, out) == (130, "") and errors == "movseg: interrupted.\n"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("video") / "frames", scene(12))


COMMANDS = {
    "segment": (STOPPED, ["segment", "FRAMES", "--quiet"]),
    "flow": (STOPPED, ["flow", "FRAMES", "--quiet"]),
    "synth": (STOPPED, ["synth", "--clips", "400", "--workers", "2", "--quiet"]),
    "data list": (130, ["data", "list"]),
    "convert-tracks": (130, ["convert-tracks", "MASKS", "--to", "npz"]),
    "eval": (130, ["eval", "masks", "--pred", "FRAMES", "--gt", "FRAMES"]),
    "demo": (STOPPED, ["demo", "--quiet"]),
    "train": (STOPPED, ["train", "configs/tiny.py", "--data-dir", "DATA"]),
    "plot": (130, ["plot", "RUN"]),
    "convert": (130, ["convert", "WEIGHTS", "--overwrite"]),
    "data prepare": (130, ["data", "prepare", "davis2016", "--manual-dir", "DAVIS"]),
}
MOMENTS = 6  # Of each command.


@pytest.fixture(scope="module")
def inputs(frames, tmp_path_factory):
    """What the words in capitals stand for."""
    root = tmp_path_factory.mktemp("inputs")
    run(
        "synth", "--out", root / "data" / "rendered", "--clips", "2", "--quiet",
        "--scene.frames", "3", "--scene.size", "128", "224", check=True,
    )  # fmt: skip
    (root / "run").mkdir()
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 200)]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (root / "run" / "log.jsonl").write_text(lines)
    layouts.davis2016(root / "davis")
    golden = np.load(ROOT / "tests" / "golden" / "resnet50.npz")
    weights = hashed_weights(unpack_shapes(golden["weights"]))
    np.savez(root / "resnet50.npz", **weights)
    return {
        "FRAMES": frames,
        "MASKS": frames,
        "DATA": root / "data",
        "RUN": root / "run",
        "WEIGHTS": root / "resnet50.npz",
        "DAVIS": root / "davis",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_control_c_at_any_moment_is_one_line(name, inputs, tmp_path):
    expected, arguments = COMMANDS[name]
    arguments = [inputs.get(word, word) for word in arguments]
    option = {"train": "--workdir", "data prepare": "--data-dir"}.get(name, "--out")
    suffix = ".safetensors" if name == "convert" else ""

    def begin(folder):
        to = [option, tmp_path / f"{folder}{suffix}"]
        if name in ("data list", "eval", "plot"):
            to = []
        return start(COMMAND, *arguments, *to, JAX_PLATFORMS="cpu")

    longest = seconds_of(begin("first"))
    moments = random.Random(name)
    interrupted = 0
    for _ in range(MOMENTS):
        status, out, errors = interrupt(begin("out"), moments.uniform(0, longest))
        if status in (0, 2):  # It had ended already, as it does.
            continue
        interrupted += 1
        assert status in (expected, -signal.SIGINT), (status, out, errors)
        # It may have said already what it had to say, but nothing that Python says.
        # Bars are redrawn in their line, and a line that was being written when the
        # signal came may be written again when Python ends.
        said = {line for line in errors.splitlines() if line.strip()}
        said = {line for line in said if "frame/s]" not in line}
        assert all(line.startswith("movseg: ") for line in said), errors
        told = {line for line in said if "interrupted" in line}
        # A run that ends in good order says so with its results.
        assert told or status != expected or "stopped at" in out, (out, errors)
        assert len(said - told) <= 1, errors
    assert interrupted


# Streams -------------------------------------------------------------------------


def run(*arguments, **options):
    command = [sys.executable, "-c", COMMAND_ALONE, *map(str, arguments)]
    environment = os.environ | options.pop("environment", {})
    return subprocess.run(command, cwd=ROOT, env=environment, **options)


def test_a_name_that_the_terminal_cannot_show_is_no_error(frames, tmp_path):
    out = tmp_path / "видео"
    done = run(
        "flow", frames, "--out", out, "--quiet",
        environment={"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\\u0432" in done.stdout and (out / "shot000.flo").is_file()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(frames, tmp_path, closed):
    arguments = ["flow", str(frames), "--out", str(tmp_path / "out")]
    shell = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", COMMAND_ALONE]
    done = subprocess.run([*shell, *arguments], cwd=ROOT, check=False)
    assert done.returncode == 0
    flows = sorted((tmp_path / "out").glob("*.flo"))
    assert len(flows) == 11 and len({path.stat().st_size for path in flows}) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said_and_nothing_is_lost(frames, tmp_path):
    with open("/dev/full", "w") as full:
        done = run(
            "flow", frames, "--out", tmp_path / "out", "--quiet",
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert done.returncode == 2 and "standard output: cannot be" in done.stderr
        assert "Traceback" not in done.stderr
        done = run("flow", frames, "--out", tmp_path / "out", stderr=full)
        assert done.returncode == 0
    assert len(list((tmp_path / "out").glob("*.flo"))) == 11


def test_bars_show_nothing_before_there_is_progress(capsys):
    with pytest.raises(ValueError), progress_bar("frame") as show:
        show(0, 10)
        raise ValueError
    assert capsys.readouterr().err == ""
    with progress_bar("frame") as show:
        show(0, 10)
        show(10, 10)
    assert "10/10" in capsys.readouterr().err
    with progress_bar("frame", quiet=True) as show:
        show(5, 10)
    assert capsys.readouterr().err == ""


class Interrupted(io.StringIO):
    """A terminal; a signal comes when it is flushed for the n-th time."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def flush(self):
        self.moment -= 1
        if self.moment == 0:
            raise KeyboardInterrupt

    def last_line(self):
        """What it shows in the line of the cursor."""
        line = ""
        for text in self.getvalue().split("\n")[-1].split("\r"):
            line = text + line[len(text) :]
        return line.strip()


@pytest.mark.parametrize("moment", range(2, 6))  # tqdm starts with a flush.
def test_a_bar_is_removed_if_a_signal_comes_while_it_is_drawn(moment, monkeypatch):
    terminal = Interrupted(moment)
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(KeyboardInterrupt), progress_bar("frame") as show:
        for done in range(moment + 2):
            show(done, 10)
            time.sleep(0.11)  # tqdm draws at most every tenth of a second.
    gc.collect()  # A bar that is lost would be drawn again here.
    assert "frame/s]" in terminal.getvalue() and terminal.last_line() == ""


# Devices -------------------------------------------------------------------------


FAST = [("segment", "cuda"), ("train", "nonsense")]
SLOW = [
    pytest.param(command, platform, marks=pytest.mark.slow)
    for command in ("segment", "demo", "train")
    for platform in ("cuda", "tpu", "nonsense")
    if (command, platform) not in FAST
]


@pytest.mark.parametrize(("command", "platform"), [*FAST, *SLOW])
def test_devices_that_are_not_there_are_said_in_a_line(
    frames, tmp_path, command, platform
):
    arguments = {
        "segment": [frames, "--out", tmp_path / "out"],
        "demo": ["--out", tmp_path / "out"],
        "train": ["configs/tiny.py", "--workdir", tmp_path, "--data-dir", tmp_path],
    }[command]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_ALONE, command, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"JAX_PLATFORMS={platform}" in done.stderr


@pytest.mark.parametrize(
    "asked, plugin, files, expected",
    [
        ("cpu", True, True, True),
        ("cuda,cpu", False, False, False),
        ("", False, True, True),
        ("", True, False, True),
        ("", True, True, False),
    ],
)
def test_memory_is_kept_where_the_cpu_computes(
    monkeypatch, tmp_path, asked, plugin, files, expected
):
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    monkeypatch.delitem(sys.modules, "jax")
    found = object() if plugin else None
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(process.importlib.metadata, "entry_points", lambda group: ())
    (tmp_path / "nvidia0").touch()
    pattern = str(tmp_path / ("nvidia[0-9]*" if files else "kfd"))
    monkeypatch.setattr(process, "ACCELERATORS", (pattern,))
    assert process.computes_on_cpu() is expected
    kept = []
    monkeypatch.setattr(process, "keep_memory", lambda: kept.append(1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("COMPILATION_CACHE_DIR", "PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.setenv(f"JAX_{name}", "0")
    process.prepare_jax()
    assert bool(kept) is expected


KEEPS_MEMORY = """
from pathlib import Path
from movseg_jax.system.process import give_back_memory, keep_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
keep_memory()
blocks = [bytearray(1_000_000) for _ in range(200)]
used = resident()
last = blocks[-1]  # Above the others, so that the heap cannot shrink.
blocks.clear()
print(used - resident())
give_back_memory()
print(used - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these settings")
def test_memory_that_is_kept_can_be_given_back():
    command = [sys.executable, "-c", KEEPS_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, given_back = map(int, done.stdout.split())
    assert kept < 20e6 and given_back > 180e6


THREADS_OF_A_COMMAND = """
import sys
from pathlib import Path
from movseg_jax.cli.app import main
from tests.memory import count_arenas
folder = Path(sys.argv[1])
sys.argv = ["movseg", "--version"]
main()
print(count_arenas(folder))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has arenas")
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize("worker", [False, True])
def test_threads_share_the_memory_that_is_kept(tmp_path, monkeypatch, platform, worker):
    """Also the threads that watch for signals or the parent, which start early."""
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    if worker:
        process_worker = workers.ProcessWorker(process.prepare_jax)
        count = process_worker.submit(count_arenas, tmp_path).result()
        process_worker.end()
    else:
        command = [sys.executable, "-c", THREADS_OF_A_COMMAND, tmp_path]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        )
        count = int(done.stdout.split()[-1])
    assert (count == 1) is (platform == "cpu")
