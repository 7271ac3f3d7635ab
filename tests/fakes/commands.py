"""The command `movseg` in processes of its own, with a detector of squares."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The detector takes its time, in the workers of a batch, too.
COMMAND = """
import functools, resource, sys
from movseg_jax.cli import segment
from movseg_jax.cli.app import main
from tests.fakes.square_detector import load_squares
pause, log, limit = float(sys.argv.pop(1)), sys.argv.pop(1), int(sys.argv.pop(1))
segment.load_model = functools.partial(load_squares, pause=pause, log=log)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
sys.exit(main())
"""


@contextlib.contextmanager
def started_commands():
    """Gives a function that starts `movseg segment`; it takes the arguments.

    Commands that still run in the end are killed.
    """
    started = []

    def start(*arguments, pause=0.0, log="", file_limit=0):
        words = (pause, log, file_limit, "segment", *arguments, "--quiet")
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def finish(process):
    """Its status and what it printed to stdout and stderr; never a traceback."""
    out, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    return process.returncode, out, errors


def wait_for(condition, *processes):
    """Waits until the condition is true, while the processes run."""
    for _ in range(6000):
        if condition():
            return
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("waited in vain")
