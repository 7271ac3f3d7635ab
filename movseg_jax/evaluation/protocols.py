"""What each protocol measures, and of which frames."""

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
    Group,
)
from movseg_jax.evaluation.truth import TruthSequence
from movseg_jax.metrics.davis17 import davis17_unsupervised

LeftOut = Literal["none", "ends", "last"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How predictions are measured.

    Attributes:
        text: What it is, in a line.
        groups: Its measures.
        dataset: A key of `sources.LAYOUTS`; None is to be chosen, "" two folders.
        split: Of it, by default.
        foreground: Whether masks of 0 and 255 will do, as objects are not told apart.
        left_out: Frames that are not measured: "last" is left out here, the last frame
            of a video if it is annotated, "ends" by the measure, the first and the last
            annotated ones.
        weights: Whether it needs how sure the truth's labels are.
        points: Whether it measures point trajectories.
        settings: Names of those that matter.
    """

    text: str
    groups: tuple[Group, ...]
    dataset: str | None = None
    split: str = ""
    foreground: bool = False
    left_out: LeftOut = "none"
    weights: bool = False
    points: bool = False
    settings: frozenset[str] = frozenset()

    def measured(self, truth: TruthSequence) -> range:
        """The numbers of the frames that are measured, among the annotated ones."""
        count = len(truth.frames)
        if self.left_out == "ends":
            return range(1, max(count - 1, 1))
        ends = count and truth.frames[-1].place == len(truth.video) - 1
        return range(count - 1 if self.left_out == "last" and ends else count)


# Two folders whose truth is masks of 0 and 255; not for the command line.
MASKS_OF_FOREGROUND = "masks of foreground"
_NO_LIMIT = 65535  # Of tracks: what 16 bits hold.

PROTOCOLS: dict[str, Protocol] = {
    "davis16": Protocol(
        text="everything that moves as one region",
        groups=(DAVIS16,),
        dataset="davis2016",
        split="val",
        foreground=True,
        left_out="ends",
        settings=frozenset({"temporal"}),
    ),
    "davis17-moving": Protocol(
        text="objects, where all that are labelled move",
        groups=(PROPOSED,),
        dataset="davis2017",
        split="moving_val",
        settings=frozenset({"background"}),
    ),
    "davis17-unsupervised": Protocol(
        text="objects, each by its own track",
        groups=(UNSUPERVISED, TRACKING),
        dataset="davis2017",
        split="val",
        settings=frozenset({"max_tracks"}),
    ),
    "fbms-official": Protocol(
        text="regions of the few labelled frames, by the data set's authors",
        groups=(OFFICIAL,),
        dataset="fbms",
        split="test",
        weights=True,
        points=True,
    ),
    "fbms-proposed": Protocol(
        text="objects in the few labelled frames; weights do not count",
        groups=(PROPOSED,),
        dataset="fbms",
        split="test",
        settings=frozenset({"background"}),
    ),
    "fbms-3d": Protocol(
        text="what moves in 3D, in the few labelled frames",
        groups=(THREE_D,),
        dataset="fbms_3d",
        split="test",
    ),
    "ytvos-moving": Protocol(
        text="objects, where all that are labelled move, in every fifth frame",
        groups=(PROPOSED,),
        dataset="ytvos_moving",
        split="val",
        settings=frozenset({"background"}),
    ),
    "detection": Protocol(
        text="objects frame by frame, and their tracks",
        groups=(DETECTION, OVERLAP, TRACKING),
        left_out="last",
    ),
    "masks": Protocol(
        text="objects of two folders",
        groups=(
            OVERLAP,
            PROPOSED,
            dataclasses.replace(
                UNSUPERVISED,
                title="As of DAVIS 2017, unsupervised, with any number of tracks",
                make=lambda context: davis17_unsupervised(_NO_LIMIT),
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
        groups=(FOREGROUND,),
        dataset="",
        foreground=True,
        left_out="ends",
    ),
}
