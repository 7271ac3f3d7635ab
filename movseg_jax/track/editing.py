"""Corrects finished tracks: leaves tracks out, or joins them."""

from collections.abc import Collection, Mapping, Sequence

from movseg_jax.errors import InputError
from movseg_jax.results import FrameSequence, Sighting, TrackedFrame, joined

SHOWN = 20  # The most numbers in a message.


class EditedTracks(FrameSequence[TrackedFrame]):
    """The frames of other tracks with their tracks renumbered, joined or left out."""

    def __init__(self, tracks: Sequence[TrackedFrame], new_ids: Mapping[int, int]):
        """Takes the tracks; a frame is edited when it is asked for.

        Args:
            tracks: The tracked frames.
            new_ids: The new number of each track that is kept. Tracks with the same new
                number become one.
        """
        self._tracks, self._new_ids = tracks, new_ids

    def __len__(self) -> int:
        return len(self._tracks)

    def make(self, index: int) -> TrackedFrame:
        """Edits the tracks of a frame."""
        frame = self._tracks[index]
        pieces: dict[int, list[Sighting]] = {}
        for sighting in frame.sightings:
            new = self._new_ids.get(sighting.id)
            if new is not None:
                pieces.setdefault(new, []).append(sighting._replace(id=new))
        return frame._replace(sightings=tuple(map(joined, pieces.values())))


def edit_tracks(
    tracks: Sequence[TrackedFrame],
    *,
    keep: Collection[int] | None = None,
    drop: Collection[int] = (),
    merge: Collection[tuple[int, int]] = (),
) -> EditedTracks:
    """Returns tracks with some of them left out and others joined.

    Where two tracks that are joined are in the same frame, the mask is their union, the
    score the higher one, and the track moves if one of the two does. Numbers of tracks
    do not change otherwise.

    Args:
        tracks: The tracked frames. They are read once to know their tracks, and again
            when frames of the result are asked for.
        keep: The numbers of the tracks to keep, after joining. None keeps all.
        drop: The numbers of the tracks to leave out.
        merge: Pairs of numbers. (1, 7) makes track 7 a part of track 1.

    Raises:
        InputError: There is no track of a number; or two edits contradict each other.
    """
    known = {sighting.id for frame in tracks for sighting in frame.sightings}
    paired = [number for pair in merge for number in pair]
    for option, asked in (("keep", keep or ()), ("drop", drop), ("merge", paired)):
        if unknown := {*asked} - known:
            raise InputError(
                f"`{option}`: there is no track {_listed(unknown)}; expected some of "
                f"{_listed(known) or 'none, since there are no tracks'}."
            )
    _check_merge(merge)
    _check_left_out(keep, drop, merge)
    new_ids = {track: track for track in known} | {part: into for into, part in merge}
    left = (known if keep is None else {*keep}) - {*drop}
    return EditedTracks(tracks, {a: b for a, b in new_ids.items() if b in left})


def _check_merge(merge: Collection[tuple[int, int]]) -> None:
    """Refuses pairs that do not say for each part which one track it becomes part of.

    Raises:
        InputError: There are such pairs.
    """
    wholes: dict[int, int] = {}
    for into, part in merge:
        if into == part:
            raise InputError(f"`merge`: track {into} cannot be a part of itself.")
        if wholes.setdefault(part, into) != into:
            raise InputError(
                f"`merge`: track {part} becomes a part of both {wholes[part]} and "
                f"{into}; expected one of them."
            )
    for into, part in merge:
        if into in wholes:
            raise InputError(
                f"`merge`: track {part} becomes a part of {into}, which becomes a part "
                f"of {wholes[into]}; expected both to be parts of {wholes[into]}."
            )


def _check_left_out(
    keep: Collection[int] | None,
    drop: Collection[int],
    merge: Collection[tuple[int, int]],
) -> None:
    """Refuses edits that use a track and leave it out.

    Raises:
        InputError: There are such edits.
    """
    if both := {*(keep or ())} & {*drop}:
        raise InputError(f"`keep` and `drop` both name track {_listed(both)}.")
    for into, part in merge:
        if left_out := {into, part} & {*drop}:
            raise InputError(
                f"`drop` leaves out track {_listed(left_out)}, but `merge` makes track "
                f"{part} a part of {into}; expected one of the two."
            )
        if keep is not None and into not in keep:
            raise InputError(
                f"`merge` makes track {part} a part of {into}, but `keep` leaves out "
                f"track {into}."
            )


def _listed(numbers: Collection[int]) -> str:
    """Returns numbers in order, as text that is not too long."""
    shown = ", ".join(str(number) for number in sorted(numbers)[:SHOWN])
    return shown + ", ..." * (len(numbers) > SHOWN)
