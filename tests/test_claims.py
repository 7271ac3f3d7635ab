"""Claims to work: one process has each, and what a dead one had is taken over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from movseg_jax.errors import InputError
from movseg_jax.system import claims

ROOT = Path(__file__).parents[1]


def claim_of(folder, number=1, *, age=0.0, **owner):
    """A claim that another process left."""
    folder.mkdir(exist_ok=True)
    file = folder / f"claim.{number}"
    file.write_text(json.dumps({"host": "other", "pid": 1, "space": "other"} | owner))
    then = time.time() - age
    os.utime(file, (then, then))
    return file


def test_a_claim_is_held_until_it_is_given_back(tmp_path):
    claim = claims.take(tmp_path / "work")
    assert claim and claims.owner(tmp_path / "work").pid == os.getpid()
    assert claims.take(tmp_path / "work") is None
    claim.release()
    assert claims.owner(tmp_path / "work") is None
    again = claims.take(tmp_path / "work")
    assert again
    again.release()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["claim.2"]


@pytest.mark.parametrize("round", range(20))
def test_one_of_many_has_the_claim(tmp_path, round):
    if round % 2:  # Somebody who is gone had it.
        claim_of(tmp_path, 3, age=claims.STALE + 1)
    start = threading.Barrier(8)

    def take(_):
        start.wait()
        return claims.take(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        taken = [claim for claim in pool.map(take, range(8)) if claim]
    assert len(taken) == 1
    taken[0].release()


def test_a_claim_of_another_host_counts_until_it_is_stale(tmp_path):
    file = claim_of(tmp_path, age=claims.STALE - 20)
    assert str(claims.owner(tmp_path)) == "other:1"
    assert claims.take(tmp_path) is None
    then = time.time() - claims.STALE - 1
    os.utime(file, (then, then))
    claim = claims.take(tmp_path)
    assert claim and not file.exists()
    claim.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "x"}', '{"pid": "x"}'])
def test_a_claim_that_cannot_be_read_counts_until_it_is_stale(tmp_path, text):
    claim_of(tmp_path).write_text(text)
    assert claims.take(tmp_path) is None
    claim_of(tmp_path, age=claims.STALE + 1)
    assert claims.owner(tmp_path) is None


def test_the_claim_of_a_dead_process_is_free_at_once(tmp_path):
    code = "import sys; from movseg_jax.system import claims; from pathlib import Path;"
    code += "claims.take(Path(sys.argv[1])); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE
    )
    # While the file is empty, the owner is unknown, and has the number 0.
    while (found := claims.owner(tmp_path)) is None or not found.pid:
        time.sleep(0.01)
    assert found.pid == process.pid
    assert claims.take(tmp_path) is None
    process.kill()
    process.communicate()
    claim = claims.take(tmp_path)
    assert claim
    claim.release()


def test_an_owner_touches_its_claim_and_stops_when_it_was_taken_over(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "BEAT", 0.05)
    signals = []
    previous = signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
    try:
        claim = claims.take(tmp_path)
        os.utime(tmp_path / "claim.1", (0, 0))
        time.sleep(0.3)
        assert (tmp_path / "claim.1").stat().st_mtime > 0 and not signals
        claim_of(tmp_path, 2)
        time.sleep(0.3)
        assert signals == [1]
        claim.release()
        assert str(claims.owner(tmp_path)) == "other:1"
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_a_process_that_read_old_claims_does_not_take_one(tmp_path, monkeypatch):
    """It creates a number that others have created and removed meanwhile."""
    claim_of(tmp_path, 1, age=claims.STALE + 1)
    find = claims._owner

    def find_slowly(folder, number):
        found = find(folder, number)
        claim_of(tmp_path, 3)
        (tmp_path / "claim.1").unlink()
        return found

    monkeypatch.setattr(claims, "_owner", find_slowly)
    assert claims.take(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["claim.3"]


def test_a_folder_that_cannot_be_written_to_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        claims.take(tmp_path / "file")
