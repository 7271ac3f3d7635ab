"""Published numbers to compare measured ones with: those of the paper's tables.

Dave, Tokmakov and Ramanan, "Towards Segmenting Anything That Moves", ICCV workshops
2019. Numbers are as printed: times 100 and rounded to a tenth, except counts. Methods
are named as there; "[21]" is the paper's reference. Where text and tables disagree (the
gain over [21] on FBMS' test set is 11.4 in the introduction and 11.3 by Table 8; what
the joint model gains over the appearance stream is 6.0 there and 9.2 in training, the
text has them the other way round), the tables are here.

F of Table 7 is that of the mean precision and recall, F of Tables 6 and 8 the mean over
sequences.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

PAPER = "Dave et al., 2019"
COUNTS = frozenset({"extracted", "visible", "delta_objects"})  # The rest is percent.


class Reference(NamedTuple):
    """A row of a table, or its half of a split.

    Attributes:
        protocol: That the numbers can be compared in.
        dataset: Its name, as in `movseg data list`.
        split: Of the data set: "train", "val" or "test".
        method: As the paper names it.
        source: The table or section.
        values: As printed, by the names of the protocol's measures.
        note: What to know before comparing; "" if nothing.
    """

    protocol: str
    dataset: str
    split: str
    method: str
    source: str
    values: Mapping[str, float]
    note: str = ""

    def fraction(self, measure: str) -> float:
        """A number as measures have it: 0 to 1, counts as they are."""
        value = self.values[measure]
        return value if measure in COUNTS else value / 100


def reference_results(protocol: str) -> list[Reference]:
    """What is published for a protocol, in the order of the tables; often nothing."""
    return [row for row in _REFERENCES if row.protocol == protocol]


# The tables ------------------------------------------------------------------------


class _Table(NamedTuple):
    source: str
    protocol: str
    dataset: str
    split: str
    measures: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    note: str = ""
    constants: Mapping[str, float] = MappingProxyType({})

    def references(self) -> Iterator[Reference]:
        for method, printed in self.rows.items():
            values = dict(zip(self.measures, printed, strict=True))
            values.update(self.constants)
            yield Reference(
                self.protocol,
                self.dataset,
                self.split,
                method,
                f"{PAPER}, {self.source}",
                MappingProxyType(values),
                self.note,
            )


_DETECTION = ("box_ap50", "mask_ap50")
_FRAMES = (
    "the last frame of every sequence is left out; the paper does not say whether a "
    "frame has one object, as in DAVIS 2016, or the instances of DAVIS 2017"
)
_FBMS = ("precision", "recall", "f_measure")

_TABLES = (
    _Table(
        "Table 1",
        "detection",
        "davis2016",
        "val",
        _DETECTION,
        {
            "Motion stream, FlowNet2": (40.5, 23.9),
            "Motion stream, FlowNet2 <- Groundtruth": (43.2, 25.0),
            "Motion stream, LiteFlowNet <- Groundtruth": (33.8, 24.0),
        },
        _FRAMES,
    ),
    _Table(
        "Table 2",
        "detection",
        "davis2016",
        "val",
        _DETECTION,
        {
            "Appearance stream, class-specific": (42.0, 40.2),
            "Appearance stream, objectness": (49.8, 48.3),
        },
        f"{_FRAMES}; the class-specific one has all classes' detections as one",
    ),
    _Table(
        "Table 3",
        "detection",
        "davis2016",
        "val",
        _DETECTION,
        {
            "Joint training, class-specific": (73.8, 70.3),
            "Joint training, objectness": (79.1, 73.3),
            "+ freeze appearance": (81.9, 76.7),
            "+ freeze motion": (83.7, 76.4),
            "+ freeze mask": (83.9, 77.4),
        },
        _FRAMES,
    ),
    _Table(
        "Table 4",
        "detection",
        "davis2016",
        "val",
        _DETECTION,
        {
            "Trained on DAVIS": (83.9, 77.4),
            "Trained on YTVOS-moving": (79.9, 75.8),
            "Trained on DAVIS <- YTVOS-moving": (85.1, 77.9),
        },
        _FRAMES,
    ),
    _Table(
        "Table 5",
        "davis16",
        "davis2016",
        "val",
        (
            *("J-mean", "J-recall", "J-decay"),
            *("F-mean", "F-recall", "F-decay", "T-mean"),
        ),
        {
            "MP-F [38]": (70.0, 85.0, 1.4, 65.9, 79.2, 2.5, 56.3),
            "FSG [19]": (70.7, 83.5, 1.5, 65.3, 73.8, 1.8, 32.8),
            "ARP [23]": (76.2, 91.1, 7.0, 70.6, 83.5, 7.9, 39.3),
            "LVO [39]": (78.2, 89.1, 4.1, 75.9, 84.7, 3.5, 20.2),
            "Ours": (79.0, 92.7, 3.7, 78.4, 86.7, 5.4, 25.2),
        },
        "Ours: the joint model's detections above 0.7, without tracking",
    ),
    _Table(
        "Table 6",
        "fbms-3d",
        "fbms_3d",
        "test",
        (*_FBMS, "delta_objects"),
        {"[6]": (74.2, 63.1, 65.0, 4.0), "Ours-J": (77.1, 62.6, 66.3, 1.4)},
        "Ours-J: without the appearance stream's own detections",
    ),
    _Table(
        "Table 7",
        "fbms-official",
        "fbms",
        "train",
        (*_FBMS, "extracted"),
        {
            "[12]": (79.2, 47.6, 59.4, 4.0),
            "[29]": (81.5, 63.2, 71.2, 16.0),
            "[37]": (83.0, 70.1, 76.0, 23.0),
            "[21]": (86.9, 71.3, 78.4, 25.0),
            "[45]": (89.5, 70.7, 79.0, 26.0),
            "[22]": (93.0, 72.7, 81.6, 29.0),
            "Ours-A": (89.2, 79.0, 83.8, 43.0),
            "Ours-J": (85.1, 78.5, 81.7, 39.0),
        },
        constants={"visible": 65.0},
    ),
    _Table(
        "Table 7",
        "fbms-official",
        "fbms",
        "test",
        (*_FBMS, "extracted"),
        {
            "[12]": (77.1, 43.0, 55.2, 5.0),
            "[29]": (74.9, 60.1, 66.7, 20.0),
            "[37]": (77.9, 59.1, 67.3, 15.0),
            "[21]": (87.6, 70.2, 77.9, 25.0),
            "[45]": (91.5, 64.8, 75.8, 27.0),
            "[22]": (95.9, 65.5, 77.9, 28.0),
            "Ours-A": (88.6, 80.4, 84.3, 40.0),
            "Ours-J": (80.8, 75.8, 78.2, 39.0),
        },
        constants={"visible": 69.0},
    ),
    _Table(
        "Table 8",
        "fbms-proposed",
        "fbms",
        "train",
        _FBMS,
        {
            "[37]": (74.8, 61.7, 65.5),
            "[21]": (68.1, 68.5, 67.1),
            "Ours-A": (61.6, 80.4, 64.0),
            "Ours-J": (75.0, 77.8, 73.2),
        },
    ),
    _Table(
        "Table 8",
        "fbms-proposed",
        "fbms",
        "test",
        _FBMS,
        {
            "[37]": (66.8, 49.2, 53.6),
            "[21]": (70.0, 64.6, 65.0),
            "Ours-A": (66.8, 84.7, 70.3),
            "Ours-J": (77.0, 83.0, 76.3),
        },
    ),
    _Table(
        "section 7.2",
        "davis17-moving",
        "davis2017",
        "val",
        ("f_measure",),
        {"[21]": (45.5,), "Ours": (78.3,)},
        "on 23 sequences, by the text; the authors' released list has 22",
    ),
)

_REFERENCES = tuple(row for table in _TABLES for row in table.references())
