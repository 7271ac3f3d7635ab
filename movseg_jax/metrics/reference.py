"""The numbers in the paper's tables, to compare measured ones with.

Dave, Tokmakov and Ramanan, "Towards Segmenting Anything That Moves", ICCV workshops
2019. reference.toml has them as printed: times 100 and rounded to a tenth, except
counts. Methods have the paper's names; "[21]" is the paper's reference. Where text and
tables disagree, the tables are followed: the gain over [21] on FBMS' test set is 11.4
in the introduction and 11.3 by Table 8. By Table 8 the joint model gains 6.0 over the
appearance stream in testing and 9.2 in training, which the text has the other way
round.

F of Table 7 is computed from the mean precision and recall; F of Tables 6 and 8 is the
mean over sequences.
"""

import importlib.resources
import tomllib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

PAPER = "Dave et al., 2019"
COUNTS = frozenset({"extracted", "visible", "delta_objects"})  # The others are percent.


class Reference(NamedTuple):
    """A row of a table, or its half of a split.

    Attributes:
        protocol: Protocol in which the numbers can be compared.
        dataset: Name of the data set, as in `movseg data list`.
        split: Split of the data set: "train", "val" or "test".
        method: Name of the method in the paper.
        source: Table or section.
        values: Values as printed, by the names of the protocol's numbers.
        note: Remark to read before comparing; "" if there is none.
    """

    protocol: str
    dataset: str
    split: str
    method: str
    source: str
    values: Mapping[str, float]
    note: str = ""

    def fraction(self, measure: str) -> float:
        """Returns a number in the range of metrics: 0 to 1, but counts as they are."""
        value = self.values[measure]
        return value if measure in COUNTS else value / 100


def reference_results(protocol: str) -> list[Reference]:
    """Returns the rows for a protocol, in the order of the tables, if there are any."""
    return [row for row in _REFERENCES if row.protocol == protocol]


def _read_tables() -> Iterator[Reference]:
    file = importlib.resources.files("movseg_jax.metrics") / "reference.toml"
    for table in tomllib.loads(file.read_text("utf-8"))["table"]:
        for method, printed in table["rows"].items():
            values = dict(zip(table["measures"], printed, strict=True))
            yield Reference(
                protocol=table["protocol"],
                dataset=table["dataset"],
                split=table["split"],
                method=method,
                source=f"{PAPER}, {table['source']}",
                values=MappingProxyType(values | table.get("constants", {})),
                note=table.get("note", ""),
            )


_REFERENCES = tuple(_read_tables())
