"""Reading point trajectories, also from files that are damaged."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import write_tracks
from movseg_jax.metrics import point_tracks
from movseg_jax.metrics.point_tracks import read_point_tracks
from movseg_jax.results import Sighting, TrackedFrame

# Two tracks: of label 3, in the frames 4 and 5; and of label 0, in frame 7.
LINES = ["50", "2", "3", "2", "1.5 2.25 4", "2 3 5", "0", "1", "0 6.49 7"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tracks.dat"


def read(path, lines, end="\n"):
    path.write_bytes(end.join(lines).encode() + end.encode())
    return read_point_tracks(path)


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))


def test_points_are_read_and_rounded(path):
    tracks = read(path, LINES)
    assert tracks.source == str(path)
    assert tracks.frame_count == 50
    assert_array_equal(tracks.labels, [3, 0])
    assert_array_equal(tracks.first, [4, 7])
    assert_array_equal(tracks.start, [0, 2, 3])
    assert_array_equal(tracks.points, [[2, 2], [2, 3], [0, 6]])
    for frame, expected in ((3, []), (4, [[22, 3]]), (5, [[32, 3]]), (7, [[60, 0]])):
        pixels, labels = tracks.at(frame, (8, 10))
        assert np.stack([pixels, labels], axis=1).tolist() == expected
    assert not len(tracks.at(7, (6, 10))[0])  # Row 6 is outside.


def test_coordinates_are_rounded_as_c_does_it(path):
    # (int)(x + 0.5f): towards zero, so pixel 0 begins at -1.5; in 32 bits.
    given = ["-1.5", "-1.49", "-0.5", "0.49", "0.5", "0.49999997", "1e1", "+.5", "7."]
    tracks = read(path, ["50", "1", "0", str(len(given))] + [
        f"{x} 0 {i}" for i, x in enumerate(given)
    ])  # fmt: skip
    assert tracks.points[:, 0].tolist() == [-1, 0, 0, 0, 1, 1, 10, 1, 7]


def test_frames_are_cut_off(path):
    tracks = read(path, ["50", "1", "0", "2", "0 0 3.9", "0 0 4.2"])
    assert tracks.first.tolist() == [3]
    assert tracks.at(4, (1, 1))[0].tolist() == [0]


def test_only_white_space_matters(path):
    expected = read(path, LINES)
    assert equal(read(path, LINES, end="\r\n"), expected)
    assert equal(read(path, LINES, end="\n\n"), expected)
    assert equal(read(path, LINES, end=" "), expected)
    assert equal(read(path, LINES, end="\t"), expected)
    path.write_text("\n".join(LINES))  # Without a last line ending.
    assert equal(read_point_tracks(path), expected)


def test_numbers_are_read_across_chunks(path, monkeypatch):
    expected = read(path, LINES)
    for size in range(5, 12):  # A chunk without any white space is no number.
        monkeypatch.setattr(point_tracks, "_CHUNK", size)
        assert equal(read(path, LINES), expected)
        with pytest.raises(InputError, match="line 6 has b'x'"):
            read(path, [*LINES[:5], "2 x 5", *LINES[6:]])


def test_what_is_written_is_read(path):
    ids = np.array([[0, 0, 7], [2, 0, 7]])
    sightings = tuple(
        Sighting(i, masks.encode(ids == i), 1.0, True, 0.0) for i in (2, 7)
    )
    frames = [TrackedFrame(str(i), (2, 3), None, sightings) for i in range(3)]
    write_tracks(frames, path, to="fbms", labelled=[2])
    tracks = read_point_tracks(path)
    pixels, labels = tracks.at(2, (2, 3))
    assert_array_equal(pixels, np.arange(6))
    assert_array_equal(labels, [0, 0, 2, 1, 0, 2])  # Without gaps.
    assert not len(tracks.at(1, (2, 3))[0])
    assert tracks.frame_count == 3


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (
            1,
            "0",
            "line 1 has 0 as the number of frames, expected a whole number from 1 to",
        ),
        (1, "1.5", "line 1 has 1.5 as the number of frames"),
        (2, "-1", "line 2 has -1 as the number of tracks"),
        (2, "1e30", "line 2 has 1e+30 as the number of tracks"),
        (2, "1", "line 7 goes on after the 1 tracks that it says it has"),
        (2, "3", "is cut off in track 3 of the 3"),
        (
            3,
            "-1",
            "line 3 has -1 as the label, expected a whole number from 0 to 65535",
        ),
        (3, "65536", "line 3 has 65536 as the label"),
        (3, "0.5", "line 3 has 0.5 as the label"),
        (4, "0", "line 4 has 0 as the number of points"),
        (4, "9", "is cut off in track 1 of the 2"),
        (4, "1e999", "line 4 has 1e+30 as the number of points"),
        (5, "1 2 3", "line 6 has a point of frame 5 after one of frame 3"),
        (6, "2 3 4", "line 6 has a point of frame 4 after one of frame 4"),
        (6, "2e200 3 5", "line 6 has the point [1.0000000"),
        (9, "0 6.49", "is cut off in track 2 of the 2"),
        (6, "2 -2e8 5", "line 6 has the point [2.0, -200000000.0, 5.0]"),
        (6, "2 nan 5", "line 6 has b'nan', expected a number"),
        (6, "2 0x3 5", "line 6 has b'0x3', expected a number"),
        (6, "2 1-3 5", "line 6 has b'1-3', expected a number"),
        (6, "2 1.2.3 5", "line 6 has b'1.2.3', expected a number"),
        (6, "2 1,5 5", "line 6 has b'1,5', expected a number"),
        (6, "2 \x00 5", r"line 6 has b'\x00', expected a number"),
        (6, f"2 {'1' * 5000} 5", "line 6 has"),
    ],
)
def test_a_malformed_file_is_refused_by_file_and_line(path, line, text, message):
    lines = [*LINES[: line - 1], text, *LINES[line:]]
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        read(path, lines)


def test_files_of_pixels_are_refused_as_well(path):
    lines = ["5", "2", "0", "1", "0 0 0", "0", "1", "1 0 0"]
    assert len(read(path, lines).labels) == 2
    with pytest.raises(InputError, match="line 6 has 70000 as the label"):
        read(path, [*lines[:5], "70000", *lines[6:]])
    with pytest.raises(InputError, match="is cut off in track 2"):
        read(path, lines[:-1])


@pytest.mark.parametrize("lines", [[], ["10"], [""]])
def test_an_empty_file_is_refused(path, lines):
    with pytest.raises(InputError, match="is cut off"):
        read(path, lines)


def test_what_is_no_file_or_too_large_is_refused(path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read"):
        read_point_tracks(path)
    with pytest.raises(InputError, match="is not a file"):
        read_point_tracks(path.parent)
    with pytest.raises(InputError, match="cannot be read"):
        read_point_tracks(path.parent / "a\0b")
    monkeypatch.setattr(point_tracks, "MAX_BYTES", 10)
    with pytest.raises(InputError, match=r"expected at most 10 \(point_tracks.MAX_"):
        read(path, LINES)


@given(st.data())
def test_a_damaged_file_is_refused_or_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "tracks.dat"
    text = bytearray("\n".join(LINES).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"9", b"-", b".", b"e", b" ", b"\n", b"\xff", b"1e9"])
        )
        text = text or bytearray(b"1")
    path.write_bytes(text)
    try:
        tracks = read_point_tracks(path)
    except InputError as error:
        assert str(path) in str(error)
        return
    assert tracks.start[-1] == len(tracks.points)
    for frame in (0, 4, 7):
        pixels, labels = tracks.at(frame, (8, 10))
        assert len(pixels) == len(labels)
        assert ((pixels >= 0) & (pixels < 80)).all()
