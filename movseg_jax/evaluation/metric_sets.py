"""The metrics as protocols report them: titles, and the convention behind each number.

The metrics are in `metrics`, whose docstrings say more. Apart from `make`, everything
here is data.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from movseg_jax.metrics.base import TrackMetric
from movseg_jax.metrics.davis import Davis16
from movseg_jax.metrics.davis17 import Davis17Unsupervised
from movseg_jax.metrics.detections import Detection, Overlap
from movseg_jax.metrics.fbms import Proposed, ThreeD
from movseg_jax.metrics.fbms_official import Official
from movseg_jax.metrics.tracking import Tracking


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a protocol.

    Attributes:
        background: Background in the "proposed" metric: the pixels without a track, or
            "infer" for the largest track.
        temporal: Variant of T: that of DAVIS' Python or Matlab code; "off" measures no
            T.
        max_tracks: Largest number of tracks in a sequence, in "davis17-unsupervised".
    """

    background: Literal["0", "infer"] = "0"
    temporal: Literal["python", "matlab", "off"] = "python"
    max_tracks: int = 20


class Number(NamedTuple):
    """The description of a number.

    Attributes:
        title: Title in a table.
        text: Convention: averaging, frames, background.
        percent: Whether tables show it times 100.
    """

    title: str
    text: str
    percent: bool = True


@dataclasses.dataclass(frozen=True)
class MetricSet:
    """A metric with the numbers that a protocol reports of it.

    Attributes:
        name: Name, unique in the protocol.
        title: Title in a table.
        make: Function that makes the metric from the settings.
        numbers: Numbers that are reported, in the order to print them.
    """

    name: str
    title: str
    make: Callable[[Settings], TrackMetric]
    numbers: Mapping[str, Number]


# Objects ---------------------------------------------------------------------------

_OVER_SEQUENCES = "mean over sequences"


OFFICIAL = MetricSet(
    "official",
    "Official measure of FBMS-59",
    lambda settings: Official(),
    {
        "precision": Number(
            "P",
            f"{_OVER_SEQUENCES} of the mean over visible regions, the background being "
            "one; regions without cluster have 1; pixels count by their weights",
        ),
        "recall": Number(
            "R",
            f"{_OVER_SEQUENCES} of the mean over visible regions, of what has a track; "
            "regions without cluster have 0",
        ),
        "f_measure": Number(
            "F", "harmonic mean of P and R of the data set (not a mean of sequences' F)"
        ),
        "density": Number(
            "density", f"{_OVER_SEQUENCES}, of regions' pixels that have a track"
        ),
        "extracted": Number(
            "found",
            "objects with F above 0.75, in all sequences; in each one is taken off for "
            "the background",
            percent=False,
        ),
        "visible": Number(
            "of", "objects of the truth, in all sequences, without background", False
        ),
    },
)


_MATCHED = "tracks and objects matched over all frames by the largest sum of F"

PROPOSED = MetricSet(
    "proposed",
    "Measure of Dave et al., 2019",
    lambda settings: Proposed("infer" if settings.background == "infer" else 0),
    {
        "precision": Number(
            "P",
            f"{_OVER_SEQUENCES}: share of all tracks' pixels that are on their object; "
            f"{_MATCHED}; background is no object",
        ),
        "recall": Number(
            "R",
            f"{_OVER_SEQUENCES}: share of all objects' pixels that are in their track; "
            f"{_MATCHED}; background is no object",
        ),
        "f_measure": Number(
            "F",
            f"{_OVER_SEQUENCES} of the harmonic mean of a sequence's P and R (not that "
            "of the data set's P and R)",
        ),
    },
)

_ALL_REGIONS = (
    f"{_OVER_SEQUENCES} of the sum over matched pairs, divided by the number of the "
    "truth's regions; the background is a region and what has no track is a track"
)

THREE_D = MetricSet(
    "3d",
    "Measure of Bideau et al., 2018",
    lambda settings: ThreeD(),
    {
        "precision": Number("P", _ALL_REGIONS),
        "recall": Number("R", f"{_ALL_REGIONS}; of whole regions"),
        "f_measure": Number("F", _ALL_REGIONS),
        "delta_objects": Number(
            "ΔObj",
            f"{_OVER_SEQUENCES} of how much the number of tracks differs from that of "
            "regions, over all annotated frames, backgrounds included",
            percent=False,
        ),
        "extracted": Number(
            "found", "regions with F of at least 0.75, backgrounds included", False
        ),
        "regions": Number("of", "regions of the truth, backgrounds included", False),
    },
)


def _detection_numbers() -> dict[str, Number]:
    numbers = {}
    for kind in ("box", "mask"):
        over = f"of {kind}es" if kind == "box" else "of masks"
        ious = "mean over IoU thresholds 0.5, 0.55, ..., 0.95"
        for key, title, text in (
            ("ap", "AP", f"average precision {over} at 101 recalls, {ious}"),
            ("ap50", "AP50", f"average precision {over} at IoU 0.5"),
            ("ap75", "AP75", f"average precision {over} at IoU 0.75"),
            ("ar1", "AR1", f"recall {over} with one detection a frame, {ious}"),
            ("ar10", "AR10", f"recall {over} with ten detections a frame, {ious}"),
            ("ar100", "AR100", f"recall {over} with 100 detections a frame, {ious}"),
        ):
            text = f"{text}; over all frames of all sequences; equal scores together"
            numbers[f"{kind}_{key}"] = Number(f"{kind} {title}", text)
    return numbers


DETECTION = MetricSet(
    "detection",
    "Detections, as of COCO",
    # The protocol leaves out the last frame, not the metric.
    lambda settings: Detection(drop_last_frame=False),
    _detection_numbers(),
)

OVERLAP = MetricSet(
    "overlap",
    "Overlap",
    lambda settings: Overlap(),
    {
        "object_iou": Number(
            "object IoU",
            "mean over all objects of the IoU with their track, over all frames; "
            "tracks and objects matched by the largest sum; 0 without a track",
        ),
        "foreground_iou": Number(
            "foreground IoU", f"{_OVER_SEQUENCES}, all tracks against all objects"
        ),
        "foreground_precision": Number(
            "foreground P", f"{_OVER_SEQUENCES} with tracks, of pixels"
        ),
        "foreground_recall": Number(
            "foreground R", f"{_OVER_SEQUENCES} with objects, of pixels"
        ),
        "objects": Number("objects", "in all sequences", False),
        "tracks": Number("tracks", "in all sequences", False),
    },
)

_OVER_OBJECTS = "mean over all objects"
_WHOLE_MASKS = "whole masks, before one is painted over another"
_BEST = (
    f"{_OVER_OBJECTS} of the mean over all frames, of the track with the best J; "
    f"objects do not compete for tracks; {_WHOLE_MASKS}; void left out"
)
_UNION = (
    f"{_OVER_SEQUENCES} of the mean over all frames; all tracks are one region, as are "
    "all objects; void left out"
)
_ON_VOID = "without tracks of which more than half of the pixels are void"
_OVER_ALPHAS = (
    "mean over IoU thresholds 0.05, 0.1, ..., 0.95; as TrackEval has it, with counts "
    "of all sequences together"
)
_IDENTITIES = (
    "each object has one track at most for the whole video, assigned for the most "
    "frames with an IoU of at least 0.5; counts of all sequences together"
)
_OVER_FRAMES = "share of the frames of all sequences"

TRACKING = MetricSet(
    "tracking",
    "One thing, one track",
    lambda settings: Tracking(),
    {
        "best_j": Number("best J", _BEST),
        "best_f": Number("best F", f"{_BEST}; within 0.008 of the diagonal"),
        "union_j": Number("union J", _UNION),
        "union_f": Number("union F", f"{_UNION}; within 0.008 of the diagonal"),
        "tracks_per_object": Number(
            "tracks/object",
            f"{_OVER_OBJECTS} of the number of tracks with more than half of their "
            f"pixels, over all frames, in the object; {_WHOLE_MASKS}",
            False,
        ),
        "tracks_per_video": Number(
            "tracks/video", f"{_OVER_SEQUENCES}, {_ON_VOID}", False
        ),
        "stray_tracks": Number(
            "stray",
            f"{_OVER_SEQUENCES} of the number of tracks on no object, {_ON_VOID}",
            False,
        ),
        "hota": Number(
            "HOTA", f"square root of DetA times AssA, {_OVER_ALPHAS} (Luiten, 2020)"
        ),
        "det_a": Number(
            "DetA", f"matches of all that is found or to be found, {_OVER_ALPHAS}"
        ),
        "ass_a": Number(
            "AssA",
            "mean over matches of the frames that match as they do, of all frames of "
            f"the object or the track; {_OVER_ALPHAS}",
        ),
        "idf1": Number(
            "IDF1", f"harmonic mean of IDP and IDR (Ristani, 2016); {_IDENTITIES}"
        ),
        "idp": Number("IDP", f"share of all tracks' frames; {_IDENTITIES}"),
        "idr": Number("IDR", f"share of all objects' frames; {_IDENTITIES}"),
        "id_switches": Number(
            "switches",
            "how often an object's track, by an IoU of at least 0.5 in a frame, is "
            "another than before; in all sequences; as TrackEval has it",
            False,
        ),
        "overlapping": Number(
            "overlaps",
            f"{_OVER_FRAMES} in which two tracks have an IoU above 0.5; {_WHOLE_MASKS}",
        ),
        "contained": Number(
            "contained",
            f"{_OVER_FRAMES} in which more than 0.7 of a track is in another; "
            f"{_WHOLE_MASKS}",
        ),
        "holes": Number(
            "holes",
            "mean over all tracks of the pixels that a track encloses, but no track "
            f"covers, over those of the filled track; {_WHOLE_MASKS}",
        ),
        "gaps": Number(
            "gaps",
            "share of the frames from a track's first to its last, of all tracks "
            "together, in which it is not there",
        ),
    },
)


# J and F of DAVIS ------------------------------------------------------------------


def _statistics(letter: str, mean_of: str, frames: str, more: str) -> dict[str, Number]:
    of = f"mean over {mean_of} of"
    return {
        f"{letter}-mean": Number(
            f"{letter} mean", f"{of} the mean over {frames}; {more}"
        ),
        f"{letter}-recall": Number(
            f"{letter} recall",
            f"{of} the share of {frames} with {letter} above 0.5; {more}",
        ),
        f"{letter}-decay": Number(
            f"{letter} decay",
            f"{of} the mean over the first quarter of {frames} less that over the last "
            f"quarter, less is better; {more}",
        ),
    }


_INNER = "frames but the first and the last"
_ONE_REGION = "all tracks are one region, as are all objects"
_REGION = ("J", "sequences", _INNER, _ONE_REGION)
_OUTLINE = ("F", "sequences", _INNER, f"{_ONE_REGION}; within 0.008 of the diagonal")


DAVIS16 = MetricSet(
    "davis16",
    "DAVIS 2016",
    lambda settings: Davis16(None if settings.temporal == "off" else settings.temporal),
    {
        **_statistics(*_REGION),
        **_statistics(*_OUTLINE),
        "T-mean": Number(
            "T",
            "mean over the sequences that DAVIS takes for stable of the mean over "
            f"pairs of {_INNER} (as of DAVIS' Matlab code, also of the first frame's "
            "truth and the second), where both have outlines; less is better",
        ),
    },
)

FOREGROUND = MetricSet(
    "foreground",
    "J and F of DAVIS 2016",
    lambda settings: Davis16(None),
    {**_statistics(*_REGION), **_statistics(*_OUTLINE)},
)

_OF_OBJECTS = "all objects of all sequences"
_ASSIGNED = (
    "each object has one track at most, assigned for the largest sum of J and F over "
    "all frames; void left out"
)


def _unsupervised_numbers() -> dict[str, Number]:
    both = Number("J&F", "mean of J mean and F mean")
    numbers = {"J&F-mean": both}
    for letter in ("J", "F"):
        numbers |= _statistics(letter, _OF_OBJECTS, "all frames", _ASSIGNED)
    return numbers


UNSUPERVISED = MetricSet(
    "davis17",
    "DAVIS 2017, unsupervised",
    lambda settings: Davis17Unsupervised(settings.max_tracks),
    _unsupervised_numbers(),
)
