"""The protocols: the metrics, data set and frames of each.

metric_sets.toml has the titles and conventions of the metrics' numbers. The metrics are
in `movseg_jax.metrics`, whose docstrings say more.
"""

import dataclasses
import importlib.resources
import tomllib
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from movseg_jax.evaluation.truth import TruthSequence
from movseg_jax.metrics.base import TrackMetric
from movseg_jax.metrics.davis import Davis16
from movseg_jax.metrics.davis17 import Davis17Unsupervised
from movseg_jax.metrics.detections import DetectionPrecision, Overlap
from movseg_jax.metrics.fbms import Proposed, ThreeD
from movseg_jax.metrics.fbms_official import Official
from movseg_jax.metrics.tracking import Tracking

LeftOut = Literal["none", "ends", "last"]


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


_METRICS: dict[str, Callable[[Settings], TrackMetric]] = {
    "official": lambda settings: Official(),
    "proposed": lambda settings: Proposed(0 if settings.background == "0" else "infer"),
    "3d": lambda settings: ThreeD(),
    "detection": lambda settings: DetectionPrecision(),
    "overlap": lambda settings: Overlap(),
    "tracking": lambda settings: Tracking(),
    "davis16": lambda settings: Davis16(
        None if settings.temporal == "off" else settings.temporal
    ),
    "foreground": lambda settings: Davis16(None),
    "davis17": lambda settings: Davis17Unsupervised(settings.max_tracks),
}


def _read_metric_sets() -> dict[str, MetricSet]:
    file = importlib.resources.files("movseg_jax.evaluation") / "metric_sets.toml"
    found = {}
    for name, table in tomllib.loads(file.read_text("utf-8")).items():
        numbers = {key: Number(**row) for key, row in table["numbers"].items()}
        found[name] = MetricSet(name, table["title"], _METRICS[name], numbers)
    return found


METRIC_SETS = _read_metric_sets()


# Protocols -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to measure predictions.

    Attributes:
        text: Description in a line.
        metric_sets: Metrics with the numbers that are reported; the first one's scores
            of frames find the worst frames.
        dataset: Name of the data set, a key of `data.sources.LAYOUTS`; None if the user
            chooses it, "" for two folders.
        split: Name of the default split.
        foreground: Whether masks of 0 and 255 are accepted, as objects are not told
            apart.
        left_out: Frames that are not measured. "last" is the last frame of a video, if
            it is annotated. "ends" are the first and the last annotated frame, unless
            there are no others; the metric leaves them out, as it may need them.
        weights: Whether the metrics use the weights of the truth's labels.
        points: Whether the metrics measure point trajectories.
        detections: Protocol by which files of `movseg detect` are measured, which have
            no tracks; None if they cannot be.
        settings: Names of the settings that have an effect.
    """

    text: str
    metric_sets: tuple[MetricSet, ...]
    dataset: str | None = None
    split: str = ""
    foreground: bool = False
    left_out: LeftOut = "none"
    weights: bool = False
    points: bool = False
    detections: str | None = None
    settings: frozenset[str] = frozenset()

    def measured(self, truth: TruthSequence) -> range:
        """The numbers of the measured frames among the annotated ones."""
        count = len(truth.frames)
        if self.left_out == "ends" and count > 2:
            return range(1, count - 1)
        ends = count and truth.frames[-1].place == len(truth.video) - 1
        return range(count - 1 if self.left_out == "last" and ends else count)


# The protocol of two folders with masks of 0 and 255; not for the command line.
MASKS_OF_FOREGROUND = "masks of foreground"
# The protocol of detections in single frames; not for the command line either.
DETECTIONS = "detections of frames"
_NO_LIMIT = 65535  # The largest number of tracks that 16 bits hold.

PROTOCOLS: dict[str, Protocol] = {
    "davis16": Protocol(
        text="everything that moves as one region",
        metric_sets=(METRIC_SETS["davis16"],),
        dataset="davis2016",
        split="val",
        foreground=True,
        left_out="ends",
        detections="davis16",
        settings=frozenset({"temporal"}),
    ),
    "davis17-moving": Protocol(
        text="objects, where all that are labelled move",
        metric_sets=(METRIC_SETS["proposed"],),
        dataset="davis2017",
        split="moving_val",
        settings=frozenset({"background"}),
    ),
    "davis17-unsupervised": Protocol(
        text="objects, each by its own track",
        metric_sets=(METRIC_SETS["davis17"], METRIC_SETS["tracking"]),
        dataset="davis2017",
        split="val",
        settings=frozenset({"max_tracks"}),
    ),
    "fbms-official": Protocol(
        text="regions of the few labelled frames, by the data set's authors",
        metric_sets=(METRIC_SETS["official"],),
        dataset="fbms",
        split="test",
        weights=True,
        points=True,
    ),
    "fbms-proposed": Protocol(
        text="objects in the few labelled frames; weights do not count",
        metric_sets=(METRIC_SETS["proposed"],),
        dataset="fbms",
        split="test",
        settings=frozenset({"background"}),
    ),
    "fbms-3d": Protocol(
        text="what moves in 3D, in the few labelled frames",
        metric_sets=(METRIC_SETS["3d"],),
        dataset="fbms_3d",
        split="test",
    ),
    "ytvos-moving": Protocol(
        text="objects, where all that are labelled move, in every fifth frame",
        metric_sets=(METRIC_SETS["proposed"],),
        dataset="ytvos_moving",
        split="val",
        settings=frozenset({"background"}),
    ),
    "detection": Protocol(
        text="objects frame by frame, and their tracks",
        metric_sets=(
            METRIC_SETS["detection"],
            METRIC_SETS["overlap"],
            METRIC_SETS["tracking"],
        ),
        left_out="last",
        detections=DETECTIONS,
    ),
    DETECTIONS: Protocol(
        text="detections frame by frame, whatever their class",
        metric_sets=(METRIC_SETS["detection"],),
        left_out="last",
        detections=DETECTIONS,
    ),
    "masks": Protocol(
        text="objects of two folders",
        metric_sets=(
            METRIC_SETS["overlap"],
            METRIC_SETS["proposed"],
            dataclasses.replace(
                METRIC_SETS["davis17"],
                title="As of DAVIS 2017, unsupervised, with any number of tracks",
                make=lambda settings: Davis17Unsupervised(_NO_LIMIT, late_objects=True),
            ),
            METRIC_SETS["tracking"],
            METRIC_SETS["3d"],
            METRIC_SETS["detection"],
        ),
        dataset="",
        settings=frozenset({"background"}),
    ),
    MASKS_OF_FOREGROUND: Protocol(
        text="everything in the masks as one region",
        metric_sets=(METRIC_SETS["foreground"],),
        dataset="",
        foreground=True,
        left_out="ends",
    ),
}
