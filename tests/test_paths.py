"""Natural order, and names in files that try to leave their folder."""

import functools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movseg_jax import paths
from movseg_jax.errors import InputError


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
