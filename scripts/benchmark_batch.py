"""Times many short videos with different engines, in turns; prints a JSON line a run.

    python scripts/benchmark_batch.py FOLDER [--videos 200] [--side 64] [--rounds 2]

It renders clips of two frames to FOLDER, which is empty or missing, and segments them
with `--jobs 1`, with `--jobs 2` and with `--engine ray`, an equal part of them in each
round. A line says

- start_s: how long it took until the first worker had loaded the model;
- wall_s: how long the command took, from start to end;
- videos_s: how long the videos took together, by batch.jsonl. Workers that run at the
  same time share the processor, so this may be longer than the command took;
- processor_s: the processor time of all its processes, those of Ray included.

Compare lines of one call only: the machine may do other work. It needs Linux.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ENGINES = {
    "jobs 1": ["--jobs", "1"],
    "jobs 2": ["--jobs", "2"],
    "ray": ["--engine", "ray", "--address", "local"],
}
SUBREAPER = 36  # Of prctl: processes whose parent has died become our children.


LOOK = 0.2  # Seconds between two looks at the processes.


def movseg(*arguments: object) -> float:
    """Runs a command; returns the processor time of all processes that it started."""
    words = [sys.executable, "-m", "movseg_jax", *map(str, arguments), "--quiet"]
    command = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    used = {}
    while command.poll() is None:
        used.update(descendants())
        time.sleep(LOOK)
    if command.returncode:
        raise SystemExit(f"{words} ended with status {command.returncode}.")
    return sum(used.values()) / os.sysconf("SC_CLK_TCK")


def descendants() -> Iterator[tuple[str, int]]:
    """Gives each process below this one, with its processor time so far, in ticks.

    Parents do not learn the processor time of all: Ray does not wait for its workers.
    """
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # It has just ended.
            continue
        found[file.parent.name] = fields[1], int(fields[11]) + int(fields[12])
    below = {str(os.getpid())}
    while more := {p for p, (parent, _) in found.items() if parent in below} - below:
        yield from ((process, found[process][1]) for process in more)
        below |= more


def videos_seconds(root: Path) -> float:
    """Returns how long all videos took that are done."""
    rows = map(json.loads, (root / "batch.jsonl").read_text().splitlines())
    return sum(row["seconds"] for row in rows if row["state"] == "done")


def main() -> None:
    """Renders the clips, and times the engines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    clips, size = options.folder / "clips", (options.side * 3 // 4, options.side)
    scene = ("--scene.frames", 2, "--scene.size", *size)
    movseg("synth", "--out", clips, "--clips", options.videos, *scene)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    count = options.videos // options.rounds
    for number in range(options.rounds):
        for engine, words in ENGINES.items():
            root = options.folder / f"{engine} {number}"
            part = ("--shard", f"{number + 1}/{options.rounds}")
            began = time.time()
            used = movseg(
                *("segment", clips / "JPEGImages", "--out", root),
                *("--max-side", options.side, *part, *words),
            )
            line = {
                "engine": engine,
                "videos": count,
                # The driver writes this file when the first worker is ready.
                "start_s": (root / "batch.json").stat().st_mtime - began,
                "wall_s": time.time() - began,
                "videos_s": videos_seconds(root),
                "processor_s": used,
            }
            rounded = {k: round(v, 1) if k[-2:] == "_s" else v for k, v in line.items()}
            print(json.dumps(rounded), flush=True)


if __name__ == "__main__":
    main()
