"""The parts of segmenting: reading ahead, detections recorded on disk."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.segment.record import Column, Record
from movseg_jax.system.pipeline import ahead
from movseg_jax.video.reading import Frame
from tests.content import content

ABOUT = {"video": "some video"}


def count_to(n, made=None, closed=None):
    try:
        for i in range(n):
            if made is not None:
                made.append(i)
            yield i
    finally:
        if closed is not None:
            closed.append(True)


def test_reading_ahead_gives_the_same_items():
    assert list(ahead(count_to(100))) == list(range(100))
    assert list(ahead([], 1)) == []


def test_reading_ahead_makes_no_more_than_asked_for():
    made = []
    items = ahead(count_to(100, made), 3)
    assert next(items) == 0
    time.sleep(0.3)
    # Three are ready, one is waiting to be put there.
    assert len(made) <= 5
    items.close()


def test_an_error_comes_after_the_items_before():
    def broken():
        yield 1
        raise InputError("frame 1 is damaged")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(InputError, match="frame 1"):
        next(items)


def test_closing_ends_the_thread_and_what_it_reads():
    closed, before = [], threading.active_count()
    items = ahead(count_to(1000, closed=closed))
    next(items)
    items.close()
    assert closed == [True] and threading.active_count() == before


def frame(index, size=(6, 8)):
    name, time = f"{index:05d}", index / 25
    return Frame(index, name, np.zeros((*size, 3), np.uint8), time)


def some_detections(index):
    rng = np.random.default_rng(index)

    def one(motion):
        mask = masks.encode(rng.random((6, 8)) < 0.4)
        score, likely = rng.random(2)
        shift = tuple(rng.random(2))
        return Detection(mask, score, motion, shift, rng.bytes(8), likely)

    unknown = Detection(masks.encode(np.ones((6, 8), bool)), rng.random())
    return FrameDetections((one(1.5), unknown), (one(0.25),) * (index % 2))


def record_frames(path, numbers, **options):
    with Record(path, ABOUT, **options) as record:
        for number in numbers:
            record.append(frame(number), some_detections(number))


def assert_recorded(record, count):
    assert len(record) == count
    for i in range(count):
        assert content(record[i]) == content(some_detections(i))
    assert [*Column(record, "name")] == [f"{i:05d}" for i in range(count)]
    assert [*Column(record, "time")] == [i / 25 for i in range(count)]


def test_what_is_recorded_is_read_again(tmp_path):
    record_frames(tmp_path / "record", range(3))
    with Record(tmp_path / "record", ABOUT) as record:
        assert_recorded(record, 3)
        record.append(frame(3), some_detections(3))
        assert_recorded(record, 4)
        assert content(record[-1]) == content(some_detections(3))


def contents(path):
    """All rows of the database."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [*database.iterdump()]


def test_a_record_cut_anywhere_goes_on_after_its_last_whole_frame(tmp_path):
    """What a process that is killed leaves: a database and the log of its commits."""
    whole = tmp_path / "whole"
    with Record(whole, ABOUT) as record:
        for number in range(4):
            record.append(frame(number), some_detections(number))
        data, log = whole.read_bytes(), Path(f"{whole}-wal").read_bytes()
    expected, counts = contents(whole), []
    for cut in (*range(0, len(log), 509), len(log)):
        part = tmp_path / f"part{cut}"
        part.write_bytes(data)
        Path(f"{part}-wal").write_bytes(log[:cut])
        with Record(part, ABOUT) as record:
            kept = len(record)
            assert_recorded(record, kept)
        record_frames(part, range(kept, 4))
        assert contents(part) == expected
        counts.append(kept)
    assert counts == sorted(counts) and {*counts} == {0, 1, 2, 3, 4}


def test_a_record_goes_on_with_a_whole_batch(tmp_path):
    record_frames(tmp_path / "record", range(5))
    with Record(tmp_path / "record", ABOUT, multiple=2) as record:
        assert_recorded(record, 4)


def test_a_record_of_something_else_is_refused(tmp_path):
    record_frames(tmp_path / "record", range(2))
    with pytest.raises(InputError, match="another video"):
        Record(tmp_path / "record", {"video": "another"})


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE detections SET mask = '' WHERE frame = 1",
        "UPDATE detections SET mask = 'garbage' WHERE frame = 1",
        "UPDATE detections SET score = 'x' WHERE frame = 1",
        "UPDATE frames SET height = 7 WHERE number = 1",
        "UPDATE frames SET name = 1 WHERE number = 1",
    ],
)
def test_a_damaged_frame_is_named(tmp_path, damage):
    path = tmp_path / "record"
    record_frames(path, range(3))
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(damage)
    with Record(path, ABOUT) as record:
        assert content(record[0]) == content(some_detections(0))
        for _ in range(2):
            with pytest.raises(InputError, match="frame 1 is damaged"):
                record[1]


def test_a_damaged_file_is_an_input_error(tmp_path):
    path = tmp_path / "record"
    path.write_bytes(b"no database" * 999)
    with pytest.raises(InputError, match="is damaged"):
        Record(path, ABOUT)
    with pytest.raises(InputError, match="cannot be written"):
        Record(tmp_path / "missing" / "record", ABOUT)
