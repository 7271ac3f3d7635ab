"""Whether one thing is one track: against TrackEval, loops and what must not matter."""

import math
from pathlib import Path

import numpy as np
import pytest

from movseg_jax import masks
from movseg_jax.metrics.compared import ComparedFrame
from movseg_jax.metrics.tracking import (
    tracking,
    tracking_numbers,
)
from movseg_jax.tracks import Sighting, TrackedFrame

GOLDEN = Path(__file__).parent / "golden" / "tracking.npz"
SIZE = (24, 32)


def sighting(i, mask):
    return Sighting(i, masks.encode(mask), 1.0, True, math.nan)


def tracked(masks_by_id, name="0"):
    """A frame of whole masks, which may overlap."""
    found = tuple(sighting(i, mask) for i, mask in masks_by_id.items())
    return TrackedFrame(name, SIZE, None, found)


def compared_frames(truths, founds, voids=None):
    """Frames of images of ids [t, h, w]."""
    for i, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        present = np.unique(found[found > 0]).tolist()
        sightings = tuple(sighting(k, found == k) for k in present)
        tracks = TrackedFrame(f"{i:05d}", truth.shape, None, sightings)
        void = None if voids is None else voids[i]
        yield ComparedFrame(tracks.name, i, truth.astype(np.int32), tracks, void)


def score_of(*sequence, exclusive=False):
    return tracking(exclusive=exclusive).sequence(compared_frames(*sequence))


# TrackEval -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def videos_of(golden):
    return [
        (golden[f"truth{i}"], golden[f"found{i}"])
        for i in range(len(golden["expected"]))
    ]


def test_identities_are_those_of_trackeval(golden):
    for video, expected in zip(videos_of(golden), golden["expected"], strict=True):
        numbers = tracking_numbers([score_of(*video)])
        found = [numbers[name] for name in golden["names"].tolist()]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_identities_of_several_videos_are_combined_as_by_trackeval(golden):
    numbers = tracking_numbers([score_of(*video) for video in videos_of(golden)])
    found = [numbers[name] for name in golden["names"].tolist()]
    np.testing.assert_allclose(found, golden["together"], rtol=0, atol=1e-9)
