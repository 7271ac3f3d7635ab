"""The protocols: the metric sets, data set and frames of each."""

import dataclasses
from typing import Literal

from movseg_jax.evaluation.metric_sets import (
    DAVIS16,
    DETECTION,
    FOREGROUND,
    OFFICIAL,
    OVERLAP,
    PROPOSED,
    THREE_D,
    TRACKING,
    UNSUPERVISED,
    MetricSet,
)
from movseg_jax.evaluation.truth import TruthSequence
from movseg_jax.metrics.davis17 import Davis17Unsupervised

LeftOut = Literal["none", "ends", "last"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to measure predictions.

    Attributes:
        text: Description in a line.
        metric_sets: Metrics with the numbers that are reported; the first one's scores
            of frames find the worst frames.
        dataset: Name of the data set, a key of `sources.LAYOUTS`; None if the user
            chooses it, "" for two folders.
        split: Name of the default split.
        foreground: Whether masks of 0 and 255 are accepted, as objects are not told
            apart.
        left_out: Frames that are not measured. "last" is the last frame of a video, if
            it is annotated. "ends" are the first and the last annotated frame, which
            the metric leaves out, as it may need them.
        weights: Whether the metrics use the weights of the truth's labels.
        points: Whether the metrics measure point trajectories.
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
    settings: frozenset[str] = frozenset()

    def measured(self, truth: TruthSequence) -> range:
        """The numbers of the measured frames among the annotated ones."""
        count = len(truth.frames)
        if self.left_out == "ends":
            return range(1, max(count - 1, 1))
        ends = count and truth.frames[-1].place == len(truth.video) - 1
        return range(count - 1 if self.left_out == "last" and ends else count)


# The protocol of two folders with masks of 0 and 255; not for the command line.
MASKS_OF_FOREGROUND = "masks of foreground"
_NO_LIMIT = 65535  # The largest number of tracks that 16 bits hold.

PROTOCOLS: dict[str, Protocol] = {
    "davis16": Protocol(
        text="everything that moves as one region",
        metric_sets=(DAVIS16,),
        dataset="davis2016",
        split="val",
        foreground=True,
        left_out="ends",
        settings=frozenset({"temporal"}),
    ),
    "davis17-moving": Protocol(
        text="objects, where all that are labelled move",
        metric_sets=(PROPOSED,),
        dataset="davis2017",
        split="moving_val",
        settings=frozenset({"background"}),
    ),
    "davis17-unsupervised": Protocol(
        text="objects, each by its own track",
        metric_sets=(UNSUPERVISED, TRACKING),
        dataset="davis2017",
        split="val",
        settings=frozenset({"max_tracks"}),
    ),
    "fbms-official": Protocol(
        text="regions of the few labelled frames, by the data set's authors",
        metric_sets=(OFFICIAL,),
        dataset="fbms",
        split="test",
        weights=True,
        points=True,
    ),
    "fbms-proposed": Protocol(
        text="objects in the few labelled frames; weights do not count",
        metric_sets=(PROPOSED,),
        dataset="fbms",
        split="test",
        settings=frozenset({"background"}),
    ),
    "fbms-3d": Protocol(
        text="what moves in 3D, in the few labelled frames",
        metric_sets=(THREE_D,),
        dataset="fbms_3d",
        split="test",
    ),
    "ytvos-moving": Protocol(
        text="objects, where all that are labelled move, in every fifth frame",
        metric_sets=(PROPOSED,),
        dataset="ytvos_moving",
        split="val",
        settings=frozenset({"background"}),
    ),
    "detection": Protocol(
        text="objects frame by frame, and their tracks",
        metric_sets=(DETECTION, OVERLAP, TRACKING),
        left_out="last",
    ),
    "masks": Protocol(
        text="objects of two folders",
        metric_sets=(
            OVERLAP,
            PROPOSED,
            dataclasses.replace(
                UNSUPERVISED,
                title="As of DAVIS 2017, unsupervised, with any number of tracks",
                make=lambda settings: Davis17Unsupervised(_NO_LIMIT),
            ),
            TRACKING,
            THREE_D,
            DETECTION,
        ),
        dataset="",
        settings=frozenset({"background"}),
    ),
    MASKS_OF_FOREGROUND: Protocol(
        text="everything in the masks as one region",
        metric_sets=(FOREGROUND,),
        dataset="",
        foreground=True,
        left_out="ends",
    ),
}
