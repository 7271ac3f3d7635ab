"""Cuts, fades and flashes of videos that are made here."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movseg_jax.video.cuts import FLASH, LOOKBACK, mark_cuts
from movseg_jax.video.reading import Frame

SIZE = (96, 160)


def scene(seed):
    """A coloured picture, larger than a frame."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (400, 200), interpolation=cv2.INTER_CUBIC)


def shot(seed, count, speed=3):
    """Frames of a camera that pans over a scene."""
    picture = scene(seed)
    height, width = SIZE
    return [picture[50 : 50 + height, speed * i :][:, :width] for i in range(count)]


def cuts(images):
    frames = [Frame(i, str(i), np.ascontiguousarray(image), None) for i, image in
              enumerate(images)]  # fmt: skip
    marked = list(mark_cuts(frames))
    assert [m.frame for m in marked] == frames  # All are passed on, in order.
    return [m.frame.index for m in marked if m.cut]


@pytest.mark.parametrize("lengths", [[5, 7], [1, 1, 1], [12, 1, 4], [4, 9, 2, 30]])
def test_hard_cuts_are_found_where_they_are(lengths):
    images = [image for k, n in enumerate(lengths) for image in shot(k, n)]
    assert cuts(images) == np.cumsum(lengths)[:-1].tolist()


@pytest.mark.parametrize("speed", [0, 1, 6])
def test_one_shot_has_no_cut(speed):
    assert cuts(shot(0, 40, speed)) == []
    assert cuts([]) == []


def test_a_camera_that_is_swung_around_makes_no_cut():
    """All of its frames differ by more than frames around a cut may."""
    rng = np.random.default_rng(0)
    stripes = np.repeat(rng.integers(0, 256, (1, 40, 3), dtype=np.uint8), 20, axis=1)
    stripes = np.repeat(stripes, SIZE[0], axis=0)
    offsets = np.cumsum(
        [0, 2, 4, 6, 8, 10, 13, 16, 20, 24, 28, 30, 30, 20, 12, 6, 2, 1]
    )
    images = [stripes[:, o : o + SIZE[1]] for o in offsets]
    assert cuts(images) == []


@pytest.mark.parametrize("length", range(1, FLASH + 1))
@pytest.mark.parametrize("colour", [0, 255, "noise"])
def test_a_flash_is_no_cut(length, colour):
    images = shot(0, 20, speed=1)
    for i in range(8, 8 + length):
        images[i] = np.full_like(images[i], colour if colour != "noise" else 0)
        if colour == "noise":  # A damaged frame.
            images[i] = scene(9)[: SIZE[0], : SIZE[1]]
    assert cuts(images) == []


@pytest.mark.parametrize("blank", [0, 255])
@pytest.mark.parametrize("black_frames", [1, 6])
def test_a_fade_out_and_in_is_one_cut(blank, black_frames):
    first, second = shot(0, 20), shot(1, 20)
    images = first[:10]
    fade = np.linspace(1, 0, 13)[1:]
    images += [blend(image, blank, s) for image, s in zip(first[8:], fade, strict=True)]
    images += [np.full_like(first[0], blank)] * black_frames
    images += [blend(i, blank, s) for i, s in zip(second[:12], fade[::-1], strict=True)]
    images += second[12:]
    found = cuts(images)
    assert len(found) == 1
    assert 20 <= found[0] <= 24 + black_frames


def blend(image, blank, share):
    return np.round(share * image + (1 - share) * blank).astype(np.uint8)


def test_black_frames_between_two_shots_are_one_cut_but_none_within_a_shot():
    black = [np.zeros((*SIZE, 3), np.uint8)] * 5
    assert cuts([*shot(0, 5), *black, *shot(1, 5)]) == [10]
    same = shot(0, 10, speed=1)
    assert cuts([*same[:5], *black, *same[5:]]) == []
    assert cuts(black) == cuts([*black, *shot(0, 5)]) == []
    assert cuts([*same[:5], *black * 4, *same[5:]]) == [25]  # A long pause.


@given(
    kinds=st.lists(st.sampled_from(["a", "b", "c", "black", "white"]), max_size=60),
    start=st.integers(0, 40),
)
@settings(max_examples=60)
def test_reading_may_start_anywhere(kinds, start):
    pictures = dict(zip("abc", (shot(k, 1)[0] for k in range(3)), strict=True))
    pictures |= {"black": np.zeros_like(pictures["a"])}
    pictures |= {"white": np.full_like(pictures["a"], 255)}
    images = [pictures[kind] for kind in kinds]
    whole = cuts(images)
    late = [start + i for i in cuts(images[start:])]
    known = start + LOOKBACK if start else 0
    assert [i for i in late if i >= known] == [i for i in whole if i >= known]


def test_frames_are_passed_on_at_once_where_nothing_looks_like_a_cut():
    read = []

    def source():
        for i, image in enumerate(shot(0, 10)):
            read.append(i)
            yield Frame(i, str(i), image, None)

    for marked in mark_cuts(source()):
        assert read[-1] == marked.frame.index
