"""Natural order, and names in files that try to leave their folder."""

import functools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movseg_jax.errors import InputError
from movseg_jax.system import paths


def compare(a, b):
    """An independent natural order, character by character."""
    i = j = 0
    while i < len(a) and j < len(b):
        m, n = i, j
        while m < len(a) and "0" <= a[m] <= "9":
            m += 1
        while n < len(b) and "0" <= b[n] <= "9":
            n += 1
        if (m > i) != (n > j):
            return -1 if m > i else 1  # Numbers come before other text.
        if m > i:
            if int(a[i:m]) != int(b[j:n]):
                return -1 if int(a[i:m]) < int(b[j:n]) else 1
        else:
            while m < len(a) and not "0" <= a[m] <= "9":
                m += 1
            while n < len(b) and not "0" <= b[n] <= "9":
                n += 1
            if a[i:m] != b[j:n]:
                return -1 if a[i:m] < b[j:n] else 1
        i, j = m, n
    if (i < len(a)) != (j < len(b)):
        return 1 if i < len(a) else -1
    return (a > b) - (a < b)


@given(st.lists(st.text("01 29ab.²٣", max_size=8)))
def test_the_order_is_that_of_an_independent_comparison(names):
    expected = sorted(names, key=functools.cmp_to_key(compare))
    assert sorted(names, key=paths.natural_key) == expected
    assert sorted(names[::-1], key=paths.natural_key) == expected


def test_numbers_count_as_numbers_however_long():
    names = ["a", "a1", "a01", "a2", "a10", "a10b", "a" + "9" * 5000, "b1"]
    ordered = sorted(reversed(names), key=paths.natural_key)
    assert ordered == ["a", "a01", "a1", "a2", "a10", "a10b", "a" + "9" * 5000, "b1"]


def ordered(*stems):
    names = [f"{stem}.png" for stem in stems]
    found = paths.order_frames(names[::-1], source="frames")
    return [Path(name).stem for name in found]


@pytest.mark.parametrize(
    "stems",
    [
        ["-10", "-9", "-1", "0", "1", "10"],
        ["t=-2_a", "t=-1_a", "t=0_a", "t=3_a"],
        ["z (-1)", "z (0)", "z (2)"],
        ["0.000", "0.125", "0.250", "1.000", "10.500"],
        ["-1.50", "-1.25", "-0.75", "0.00", "0.25", "1.00"],
        ["1305031102.175304", "1305031102.211214", "1305031103.000001"],
        ["v1.2.9", "v1.2.10", "v1.10.1"],
        ["2024-01-09", "2024-01-10", "2024-02-01"],
        ["frame-1", "frame-2", "frame-10"],
        ["a-1", "a-02", "a-3"],
        ["frame1.1", "frame1.2", "frame2.1"],
        ["frame2", "frame10", "frame100"],
    ],
    ids=lambda stems: stems[0],
)
def test_frames_are_in_the_order_of_their_numbers(stems):
    assert ordered(*stems) == stems


@pytest.mark.parametrize(
    ("stems", "reading"),
    [
        (["0.5", "0.25", "0.125"], "0.5 as decimals"),
        (["1.9", "1.10"], "0.5 as decimals"),
        (["t=0.05", "t=0.1"], "0.5 as decimals"),
        (["1e-05", "0.01"], "0.5 as decimals"),
        (["-1", "-2", "-3"], "a minus"),
        (["x_-1", "x_-2"], "a minus"),
    ],
)
def test_an_ambiguous_order_of_frames_is_refused(stems, reading):
    with pytest.raises(InputError, match=f"frames: the order .*{reading}"):
        ordered(*stems)


@given(st.lists(st.integers(-9999, 9999), unique=True, min_size=2), st.booleans())
def test_integers_of_any_sign_are_ordered_or_refused(numbers, padded):
    stems = [f"{n:05d}" if padded else str(n) for n in sorted(numbers)]
    if sum(n < 0 for n in numbers) > 1 and all(n < 0 for n in numbers):
        with pytest.raises(InputError, match="ambiguous"):
            ordered(*stems)
    else:
        assert ordered(*stems) == stems


@given(st.sets(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2))
def test_decimals_of_one_width_are_ordered_and_others_so_or_refused(numbers):
    numbers = sorted({abs(n) for n in numbers})
    fixed = [f"{n:.3f}" for n in numbers]
    assert ordered(*fixed) == fixed
    stems = [str(n) for n in numbers]
    try:
        assert ordered(*stems) == stems
    except InputError as error:
        assert "ambiguous" in str(error)


@given(st.lists(st.text("01.-e5 =a", max_size=8), unique=True))
def test_the_order_of_any_names_does_not_depend_on_how_they_come(stems):
    try:
        expected = ordered(*stems)
    except InputError:
        with pytest.raises(InputError):
            ordered(*stems[::-1])
        return
    assert sorted(expected) == sorted(Path(f"{stem}.png").stem for stem in stems)
    assert ordered(*stems[::-1]) == expected


def test_a_camera_is_a_number_that_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("3").touch()
    assert [
        s
        for s in ("0", 7, 3, "3", "٣", "-1", "", "a", "1.5", Path("12"))
        if paths.is_camera(s)
    ] == ["0", 7, 3, Path("12")]


def test_images_are_listed_without_folders_and_hidden_files(tmp_path):
    for name in ("b10.PNG", "b9.jpg", "c.txt", ".hidden.png", "._b9.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    os.symlink(tmp_path / "nowhere.png", tmp_path / "broken.png")
    names = [path.name for path in paths.list_images(tmp_path)]
    assert names == ["b9.jpg", "b10.PNG", "broken.png"]


@pytest.mark.parametrize("name", ["missing", "file", "a\0b", "x" * 5000])
def test_what_is_no_folder_is_an_error(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be read as a folder"):
        paths.list_images(tmp_path / name)


ESCAPES = [
    "", "/", "/etc/passwd", "..", "../a", "a/../../b", "a/..", ".", "./a", "a//b", "a/",
    "\0", "a\0.png", "a\nb", "..\\a", "a\\b", "\\\\server\\share", "C:", "C:a", "c:/a",
    "\ud800", "link/a", "link", "loop/a", "outward", "x/" * 50 + "../" * 51 + "a",
]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_names_that_lead_elsewhere_are_refused(name, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "root2").mkdir()
    os.symlink(tmp_path, root / "link")
    os.symlink("loop", root / "loop")
    os.symlink("../root2", root / "outward")
    with pytest.raises(InputError, match=r"list\.json") as error:
        paths.inside(root, name, source="list.json")
    assert len(str(error.value)) < 400 + len(str(root))
    str(error.value).encode()  # Can be printed.


@pytest.mark.parametrize(
    "name", ["a", "a/b.png", "..a", "a..b/c", "a b", "ü/é.png", "inward/a", "bb:c", "~"]
)
def test_plain_names_stay_below_the_root(name, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "there").mkdir()
    os.symlink("there", root / "inward")
    os.symlink(root, tmp_path / "alias")
    for base in (root, tmp_path / "alias"):
        assert paths.inside(base, name, source="list.json") == base / name


@given(st.text(st.sampled_from("./\\:Ca\0~\ud800"), max_size=12))
def test_any_name_is_below_the_root_or_refused(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "root"
    try:
        path = paths.inside(root, name, source="list.json")
    except InputError:
        return
    assert os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)
