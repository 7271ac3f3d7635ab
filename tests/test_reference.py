"""Published numbers: against the paper's text, where it is there, and arithmetic."""

import itertools
import re

import pytest

from movseg_jax.data.sources import LAYOUTS
from movseg_jax.metrics.reference import COUNTS, reference_results
from tests.outside import needs, outside

PAPER = "paper.txt"
PUBLISHED = (
    *("detection", "davis16", "davis17-moving"),
    *("fbms-3d", "fbms-official", "fbms-proposed"),
)
ALL = [row for protocol in PUBLISHED for row in reference_results(protocol)]


def harmonic(row):
    precision, recall = row.values["precision"], row.values["recall"]
    return 2 * precision * recall / (precision + recall)


def could_be_the_harmonic_mean(row):
    """Of some precision and recall that are rounded to those printed."""
    precision, recall = row.values["precision"], row.values["recall"]
    ends = [
        2 * p * r / (p + r)
        for p, r in itertools.product(
            (precision - 0.05, precision + 0.05), (recall - 0.05, recall + 0.05)
        )
    ]
    return min(ends) - 0.05 <= row.values["f_measure"] <= max(ends) + 0.05


def test_every_row_says_what_it_is_of():
    keys = [(row.protocol, row.split, row.method, row.source) for row in ALL]
    assert len(set(keys)) == len(keys) == 3 + 2 + 5 + 3 + 5 + 2 + 16 + 8 + 2
    for row in ALL:
        assert row.split in ("train", "val", "test")
        assert row.dataset in LAYOUTS
        assert row.split in LAYOUTS[row.dataset].splits
        assert re.fullmatch(
            r"Dave et al., 2019, (Table [1-8]|section 7\.2)", row.source
        )
        assert row.values
        for name, value in row.values.items():
            assert 0 <= value <= 100
            assert round(value, 1) == value
            if name in COUNTS:
                assert row.fraction(name) == value
            else:
                assert row.fraction(name) == pytest.approx(value / 100)


def test_rows_of_a_protocol_have_the_same_measures():
    for protocol in PUBLISHED:
        names = [tuple(row.values) for row in reference_results(protocol)]
        assert len(names) > 1
        assert set(names) == {names[0]}


@pytest.mark.parametrize("protocol", ["ytvos-moving", "davis17-unsupervised", "masks"])
def test_where_nothing_is_published_there_is_nothing(protocol):
    assert reference_results(protocol) == []


def test_f_of_the_official_measure_is_the_harmonic_mean_of_the_means():
    rows = reference_results("fbms-official")
    assert len(rows) == 16
    for row in rows:
        assert could_be_the_harmonic_mean(row), row
        assert row.values["extracted"] <= row.values["visible"]


def test_f_of_the_others_is_a_mean_and_lies_below_that_of_the_means():
    # As it must: the harmonic mean is concave.
    for row in (*reference_results("fbms-proposed"), *reference_results("fbms-3d")):
        assert row.values["f_measure"] < harmonic(row) - 0.5
        assert not could_be_the_harmonic_mean(row)


def test_tables_three_and_four_share_a_row_and_text_has_the_gains_of_the_tables():
    by_method = {(r.source[-7:], r.method): r.values for r in ALL if r.split != "train"}
    assert (
        by_method["Table 3", "+ freeze mask"]
        == by_method["Table 4", "Trained on DAVIS"]
    )
    test, train = (
        {r.method: r.values["f_measure"] for r in reference_results("fbms-proposed")
         if r.split == split}
        for split in ("test", "train")
    )  # fmt: skip
    assert test["Ours-J"] - test["[21]"] == pytest.approx(11.3)
    assert train["Ours-J"] - train["[21]"] == pytest.approx(6.1)
    flow = [r.values["box_ap50"] for r in reference_results("detection")[:2]]
    assert flow[1] - flow[0] == pytest.approx(2.7)  # The text has 2.5.
    motion = {r.method: r.values for r in reference_results("fbms-3d")}
    assert motion["Ours-J"]["f_measure"] - motion["[6]"]["f_measure"] == pytest.approx(
        1.3
    )


@needs(PAPER)
def test_numbers_are_those_of_the_paper_s_text():
    # Where the PDF's columns come apart, a number keeps a neighbour of its row or of
    # its column next to it.
    text = outside(PAPER).read_text(encoding="utf-8")
    for (source, _), rows in itertools.groupby(ALL, lambda r: (r.source, r.split)):
        table = re.search(r"Table \d", source)
        caption = text.index(f"{table[0]}: " if table else "7.2. DAVIS")
        near = text[max(caption - 2500, 0) : caption + 1500]
        printed = [float(n) for n in re.findall(r"\d+\.\d|\d+", near)]
        pairs = {frozenset(pair) for pair in itertools.pairwise(printed)}
        grid = [
            [value for name, value in row.values.items() if name != "visible"]
            for row in rows
        ]
        for i, row in enumerate(grid):
            for k, value in enumerate(row):
                places = ((i - 1, k), (i + 1, k), (i, k - 1), (i, k + 1))
                assert any(
                    frozenset((value, grid[y][x])) in pairs
                    for y, x in places
                    if 0 <= y < len(grid) and 0 <= x < len(row)
                ), (source, value)
