"""Corrected tracks against arrays that are corrected by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax import masks
from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.track.editing import edit_tracks

SIZE = (4, 5)


def sighting(id, pixels, score=0.5, moving=True, motion=math.nan):
    mask = masks.encode(np.array(pixels, bool).reshape(SIZE))
    return Sighting(id, mask, score, moving, motion)


PIXELS = st.lists(st.booleans(), min_size=20, max_size=20)
SIGHTINGS = st.lists(
    st.builds(sighting, st.integers(1, 5), PIXELS, st.floats(0, 1), st.booleans()),
    unique_by=lambda s: s.id,
    max_size=5,
)


@given(
    st.lists(SIGHTINGS, min_size=1, max_size=4),
    st.sets(st.integers(1, 5)),
    st.dictionaries(st.integers(3, 5), st.integers(1, 2)),
)
@settings(max_examples=60, deadline=None)
def test_edited_tracks_have_the_pixels_of_their_parts(rows, drop, parts):
    video = [TrackedFrame(f"{i}", SIZE, i / 5, (*row,)) for i, row in enumerate(rows)]
    known = {s.id for row in rows for s in row}
    parts = {a: b for a, b in parts.items() if {a, b} <= known}
    drop = (drop & known) - parts.keys() - {*parts.values()}
    merge = [(into, part) for part, into in parts.items()]
    edited = edit_tracks(video, drop=drop, merge=merge)
    # To keep all the others is the same as to drop some.
    kept = edit_tracks(video, keep=known - drop - parts.keys(), merge=merge)
    assert repr([*kept]) == repr([*edited]) == repr(edited[:])
    for frame, row in zip(edited, rows, strict=True):
        expected = {}
        for s in row:
            if s.id not in drop:
                pixels = expected.setdefault(parts.get(s.id, s.id), np.zeros(SIZE))
                pixels[masks.decode(s.mask)] = 1
        assert [s.id for s in frame.sightings] == [*expected]
        for s in frame.sightings:
            assert_array_equal(masks.decode(s.mask), expected[s.id])


def test_a_joined_track_moves_as_fast_and_is_as_sure_as_its_best_part():
    a = sighting(1, [1] * 3 + [0] * 17, 0.25, False, math.nan)
    b = sighting(7, [0] * 2 + [1] * 18, 0.75, True, 1.5)
    (frame,) = edit_tracks([TrackedFrame("a", SIZE, None, (a, b))], merge=[(1, 7)])
    (both,) = frame.sightings
    assert both == Sighting(1, masks.encode(np.ones(SIZE, bool)), 0.75, True, 1.5)


VIDEO = [
    TrackedFrame("0", SIZE, None, (sighting(1, [1] * 20), sighting(2, [1] * 20))),
    TrackedFrame("1", SIZE, None, (sighting(3, [1] * 20), sighting(7, [1] * 20))),
]


@pytest.mark.parametrize(
    "edits, message",
    [
        ({"keep": [1, 4, 9]}, "`keep`: there is no track 4, 9; expected some of 1, 2"),
        ({"drop": [0]}, "`drop`: there is no track 0"),
        ({"merge": [(1, 8)]}, "`merge`: there is no track 8"),
        ({"keep": [1, 2], "drop": [2]}, "`keep` and `drop` both name track 2"),
        ({"merge": [(1, 1)]}, "track 1 cannot be a part of itself"),
        ({"merge": [(1, 7), (2, 7)]}, "a part of both 1 and 2"),
        ({"merge": [(1, 7), (7, 3)]}, "expected both to be parts of 1"),
        ({"merge": [(1, 7), (7, 1)]}, "becomes a part of"),
        ({"drop": [7], "merge": [(1, 7)]}, "`drop` leaves out track 7, but `merge`"),
        ({"drop": [1], "merge": [(1, 7)]}, "`drop` leaves out track 1, but `merge`"),
        ({"keep": [7], "merge": [(1, 7)]}, "but `keep` leaves out track 1"),
    ],
)
def test_edits_that_contradict_each_other_are_refused(edits, message):
    with pytest.raises(InputError, match=message):
        edit_tracks(VIDEO, **edits)


def test_the_command_corrects_the_results_of_a_video(tmp_path, capsys):
    results, out = tmp_path / "results", tmp_path / "corrected"
    write_tracks(VIDEO, results / "tracks.json", to="tracks")
    command = ["convert-tracks", str(results), "--to", "tracks", "--out", str(out)]
    assert app.main([*command, "--keep", "1", "3", "--merge", "1=2", "1=7"]) == 0
    assert capsys.readouterr().out == f"2 frames: {out}.json\n"
    found = read_tracks(out.with_suffix(".json"))
    assert [[s.id for s in frame.sightings] for frame in found] == [[1], [3, 1]]
    for wrong, message in (
        (["--drop", "1", "--merge", "1=2"], "--drop leaves out track 1, but --merge"),
        (["--keep", "12"], "--keep: there is no track 12; expected some of 1, 2, 3, 7"),
        (["--merge", "1+2"], "--merge: '1+2' does not have the form INT=INT"),
    ):
        assert app.main([*command, "--overwrite", *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
