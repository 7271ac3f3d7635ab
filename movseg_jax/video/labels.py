"""Colours and places of the labels of tracks, on pictures and on the report's page."""

import colorsys
import functools
from collections.abc import Sequence
from typing import NamedTuple

Colour = tuple[int, int, int]

# Bright, and easy to tell apart, on most videos.
FIRST_COLOURS: tuple[Colour, ...] = (
    (255, 82, 82),
    (64, 160, 255),
    (255, 202, 40),
    (76, 217, 100),
    (217, 102, 255),
    (255, 145, 40),
    (38, 222, 222),
    (255, 105, 180),
    (170, 220, 40),
    (140, 130, 255),
    (0, 200, 150),
    (230, 160, 110),
)
COLOURS = 255  # The number of different colours.
GOLDEN = (5**0.5 - 1) / 2  # Steps of this length around a circle never come close.


class Plate(NamedTuple):
    """The rectangle of a label, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def covers(self, other: "Plate") -> bool:
        """Returns whether two plates have a pixel in common."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


def track_colour(id: int) -> Colour:
    """Returns the colour of a track on screen, RGB; those of ids 255 apart are equal.

    Masks that are written have the colours of DAVIS' palette instead, many of which are
    too dark to draw with.
    """
    return _colours()[(id - 1) % COLOURS]


@functools.cache
def _colours() -> tuple[Colour, ...]:
    colours = list(FIRST_COLOURS)
    for n in range(COLOURS - len(colours)):
        # Pale, full and darker ones in turn, of hues that are far from the last ones.
        saturation, value = ((0.5, 1.0), (0.75, 1.0), (0.75, 0.8))[n % 3]
        red, green, blue = colorsys.hsv_to_rgb(n * GOLDEN % 1, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colours)


def free_place(plate: Plate, taken: Sequence[Plate], height: int) -> Plate:
    """Moves a label up or down to where it covers no other one.

    The nearest place is chosen, and of two that are equally near the upper one. If the
    whole column is taken, the label stays where it is.

    Args:
        plate: The label where it should be, inside the picture.
        taken: The labels that are placed already.
        height: The height of the picture.
    """
    last = height - plate.height
    # A place that is nearest touches another label, or is the one that is wanted.
    tops = [plate.top]
    for other in taken:
        tops += [other.top - plate.height, other.top + other.height]
    tops.sort(key=lambda top: (abs(top - plate.top), top))
    for top in tops:
        moved = plate._replace(top=top)
        if 0 <= top <= last and not any(moved.covers(other) for other in taken):
            return moved
    return plate
