"""A section of a video: the options --start and --end.

A moment is a time, written as FFmpeg has it ("90", "12.5", "1:30", "1:02:03.5"), or the
number of a frame, from 0, with an f behind it ("250f"). The frames from `start` on and
before `end` are the section, as with FFmpeg's -ss and -to.
"""

import re
from typing import NamedTuple

from movseg_jax.errors import InputError

ROUNDING = 1e-6  # Seconds; times of frames are fractions.


class Moment(NamedTuple):
    """A moment of a video; one of both is None.

    Attributes:
        seconds: The time after the first frame.
        frame: The number of the frame.
    """

    seconds: float | None
    frame: int | None

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Reads a moment.

        Raises:
            InputError: It does not have one of the forms.
        """
        if re.fullmatch(r"[0-9]{1,12}f", text):
            return cls(None, int(text[:-1]))
        found = re.fullmatch(
            r"(?:(?:([0-9]{1,6}):)?([0-5]?[0-9]):)?([0-9]{1,9}(?:\.[0-9]{0,9})?)", text
        )
        seconds = float(found[3]) if found else 0.0
        if not found or (found[2] and seconds >= 60):
            raise InputError(
                f"{text!r:.40} is not a moment of a video; expected seconds (12.5), "
                "minutes and seconds (1:30), hours, too (1:02:03), or a frame (250f)."
            )
        minutes = 60 * int(found[1] or 0) + int(found[2] or 0)
        return cls(60 * minutes + seconds, None)


class Section(NamedTuple):
    """The frames of a video that are asked for.

    Attributes:
        first: The number of the first frame.
        length: Number of frames, if the video has as many; None is all.
    """

    first: int = 0
    length: int | None = None


def find_section(
    source: str, start: str | None, end: str | None, max_frames: int | None
) -> Section:
    """Returns the frames of a section; for times, it decodes the video up to its end.

    Args:
        source: The video.
        start: The moment of the first frame; None is the start of the video.
        end: The moment after the last frame; None is the end of the video.
        max_frames: The largest number of frames; None is all.

    Raises:
        InputError: The video has no frame in the section, or no times.
    """
    if start is None and end is None:
        return Section(0, max_frames)
    first = Moment(0.0, 0) if start is None else Moment.parse(start)
    last = None if end is None else Moment.parse(end)
    where = f"{source}: from {start or 'its start'} to {end or 'its end'}"
    numbers = _numbers(source, first, last, where)
    if numbers is None:
        raise InputError(f"{where}, there is no frame.")
    begin, stop = numbers
    limits = [n for n in (max_frames, None if stop is None else stop - begin) if n]
    return Section(begin, min(limits, default=None))


def _numbers(source, first: Moment, last: Moment | None, where):
    """The number of the first frame, and of the first one after the section."""
    from movseg_jax.video.reading import frame_times

    begin, stop = first.frame, None if last is None else last.frame
    times = frame_times(source) if None in (begin, stop if last else begin) else ()
    for index, time in enumerate(times):
        if time is None:
            raise InputError(
                f"{where}: its frames have no times; give numbers of frames, such as "
                "250f."
            )
        if begin is None and time >= (first.seconds or 0) - ROUNDING:
            begin = index
        if stop is None and last and time >= (last.seconds or 0) - ROUNDING:
            stop = index
        if begin is not None and (stop is not None or last is None):
            break
    if begin is None or (stop is not None and begin >= stop):
        return None
    return begin, stop
