"""The videos that arguments name: one or many, what is ambiguous, names, shards."""

import os
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movseg_jax.errors import InputError, InputNote
from movseg_jax.segment.video_list import (
    VIDEO_SUFFIXES,
    Shard,
    default_folder,
    find_videos,
    name_folders,
    read_list,
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of each kind."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "clips/b10.mp4",
        "clips/b9.MOV",
        "clips/.hidden.mp4",
        "left/a.mp4",
        "left/b.qt",
        "left/below/readme.txt",
        "left/c.srt",
        "left/.hidden",
        "left/d.m2v",
        "left/e.3G2",
        "left/notes.md",
        "frames/0.jpg",
        "frames/1.jpg",
        "frames/below/0.png",
        "davis/bear/0.jpg",
        "davis/car/0.jpg",
        "davis/empty/x.bin",
        "mixed/a.mp4",
        "mixed/a.jpg",
        "deep/a.mp4",
        "deep/bear/0.jpg",
        "br [1]/a.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(found, place):
    return [os.path.relpath(video, place) for video in found.videos]


ONE = ["frames", "frames/*.jpg", "frames/*", "clips/b9.MOV", "none.mp4", "0", "-"]
ONE += ["clips/*.avi", "frames/0.jpg", "https://a.b/c.mp4", "davis/empty"]


@pytest.mark.parametrize("argument", ONE)
def test_one_video_stays_as_it_is_given(place, argument):
    assert find_videos([argument]) == ((argument,), False)


MANY = {
    "clips": ["clips/b9.MOV", "clips/b10.mp4"],
    "clips/": ["clips/b9.MOV", "clips/b10.mp4"],
    "clips/*": ["clips/b9.MOV", "clips/b10.mp4"],
    "clips/*.mp4": ["clips/b10.mp4"],
    "**/*.mp4": [
        f"{name}.mp4"
        for name in ("br [1]/a", "clips/b10", "deep/a", "left/a", "mixed/a")
    ],
    "davis": ["davis/bear", "davis/car"],
    "davis/*": ["davis/bear", "davis/car"],
    "br [1]/*.mp4": ["br [1]/a.mp4"],
    "mixed/*.mp4": ["mixed/a.mp4"],
}


@pytest.mark.parametrize("argument", MANY)
def test_many_videos_are_in_natural_order_by_their_absolute_paths(place, argument):
    found = find_videos([argument])
    assert found.several and all(map(os.path.isabs, found.videos))
    assert names(found, place) == MANY[argument]


@pytest.mark.parametrize("argument", ["left", "left/*"])
def test_what_is_left_out_of_a_folder_is_noted(place, argument):
    message = r"is left out \(4\): b.qt, below, c.srt, ...\.$"
    with pytest.warns(InputNote, match=message):
        found = find_videos([argument])
    assert names(found, place) == ["left/a.mp4", "left/d.m2v", "left/e.3G2"]


def test_the_suffixes_are_documented():
    text = (Path(__file__).parents[1] / "docs" / "segmenting.md").read_text()
    assert "`" + "` `".join(VIDEO_SUFFIXES) + "`" in " ".join(text.split())


@pytest.mark.parametrize("argument", ["mixed", "mixed/*", "deep", "deep/*"])
def test_what_is_ambiguous_is_refused(place, argument):
    with pytest.raises(InputError, match=r"holds a video, 'a.mp4', and .*not clear"):
        find_videos([argument])
    with pytest.raises(InputError, match="not clear"):
        find_videos(["clips", argument])


def test_several_arguments_are_one_list_with_each_video_once(place):
    found = find_videos(["clips/b9.MOV", "frames", "clips", "none.mp4", "./frames"])
    expected = ["clips/b9.MOV", "frames", "clips/b10.mp4", "none.mp4"]
    assert names(found, place) == expected
    assert find_videos(["frames"], several=True) == ((str(place / "frames"),), True)
    for live in ("0", "-"):
        with pytest.raises(InputError, match="segment it alone"):
            find_videos(["frames", live])


def test_a_list_is_relative_to_its_folder(place):
    (place / "clips" / "list.txt").write_text(
        "# Comment\n\nb10.mp4\r\n  ../frames \n/x/y.mp4\nhttps://a.b/c.mp4\nb10.mp4"
    )
    found = find_videos(["clips/list.txt"])
    assert found.several
    assert [str(Path(v)) for v in found.videos[:3]] == [
        str(place / "clips" / "b10.mp4"), str(place / "frames"), "/x/y.mp4",
    ]  # fmt: skip
    assert found.videos[3:] == ("https://a.b/c.mp4",)


def test_a_line_of_a_list_is_a_path_in_quotes_an_address_or_refused(place):
    file = place / "list.txt"
    lines = ['"a b.mp4"', "'c.mp4'", "d'.mp4'", "HTTPS://A.b/c.mp4"]
    file.write_bytes("\n".join(lines).encode() + b"\nodd\xe9.mp4")
    found = [os.path.relpath(video, place) for video in read_list(file)[:3]]
    assert found == ["a b.mp4", "c.mp4", "d'.mp4'"]
    assert read_list(file)[3:] == ["https://A.b/c.mp4", str(place / "odd\udce9.mp4")]
    for line in ("http://a.b/c.mp4", '"ftp://a.b/c.mp4"'):
        file.write_text(line)
        with pytest.raises(InputError, match=r"list.txt: \w+://a.*https://, gs://"):
            read_list(file)
    with pytest.raises(InputError, match=r"^http://a.b/c.mp4 is an address that is"):
        find_videos(["http://a.b/c.mp4"])
    for videos in (["HTTPS://a/b.mp4"], ["HTTPS://a/b.mp4", "https://a/b.mp4"]):
        assert find_videos(videos).videos == ("https://a/b.mp4",)


OTHER_LINE = re.compile(r"""["'].+["']$|[\w+.-]+://""")  # It has another meaning.


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Zl", "Zp", "Cc"]), min_size=1)
        .map(str.strip)
        .filter(lambda line: not OTHER_LINE.match(line))
    )
)
def test_any_text_is_a_list_or_an_input_error(tmp_path_factory, lines):
    file = tmp_path_factory.mktemp("list") / "list.txt"
    file.write_text("\n".join(lines))
    wanted = [line for line in lines if line and not line.startswith("#")]
    if not wanted:
        with pytest.raises(InputError, match="names no video"):
            read_list(file)
        return
    videos = read_list(file)
    assert [Path(video) for video in videos] == [
        line if line.startswith("https://") else file.parent / line for line in wanted
    ]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_input_error(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("list") / "list.txt"
    file.write_bytes(data)
    try:
        found = find_videos([str(file)])
    except InputError:
        return
    assert found.several and len(set(found.videos)) == len(found.videos) > 0


PATTERNS = st.text(st.sampled_from("*?[]!-ab0m4p\0"), min_size=1, max_size=8)


@given(st.lists(PATTERNS, min_size=1))
def test_any_pattern_gives_videos_or_an_input_error(tmp_path_factory, arguments):
    folder = tmp_path_factory.mktemp("place")
    (folder / "a.mp4").touch()
    try:
        found = find_videos([f"{folder}/{argument}" for argument in arguments])
    except InputError:
        return
    assert found.videos


# Names ---------------------------------------------------------------------------

STEMS = st.text(st.sampled_from("abAB. -é_"), min_size=1, max_size=4)
FOLDERS = st.sampled_from(["/x", "/y", "/x/z"])
VIDEOS = st.builds(
    lambda f, s, e: f"{f}/{s}{e}", FOLDERS, STEMS, st.sampled_from([".mp4", ".mov", ""])
)
VIDEOS = VIDEOS.map(os.path.abspath)


@given(st.lists(VIDEOS, unique=True), st.randoms())
def test_names_are_plain_different_and_do_not_depend_on_the_order(videos, random):
    named = name_folders(videos, {}, ["failed.txt"])
    assert list(named) == videos
    folded = {name.casefold() for name in named.values()}
    assert len(folded) == len(videos)
    for name in named.values():
        assert name and not set(name) & set("/\0") and not name.startswith(".")
    shuffled = random.sample(videos, len(videos))
    assert name_folders(shuffled, {}, ["failed.txt"]) == named


@given(st.lists(VIDEOS, unique=True, min_size=1), st.data())
def test_a_video_keeps_its_name_when_others_are_added(videos, data):
    count = data.draw(st.integers(1, len(videos)))
    before = name_folders(videos[:count], {})
    after = name_folders(videos, before)
    assert {video: after[video] for video in before} == before
    assert len({name.casefold() for name in after.values()}) == len(videos)


def test_names_are_titles_and_a_hash_where_two_are_alike():
    videos = ["/a/clip.mp4", "/b/Clip.mov", "/b/run.json", "/c/v1.5", "/d/x.mp4"]
    videos += [f"/d/{'long' * 60}.mp4", "https://a.b/films/f.webm?x=1#y"]
    names = [*name_folders(videos, {}, ["run.json"]).values()]
    assert names[3:5] == ["v1.5", "x"] and names[6] == "f"
    assert names[0].startswith("clip-") and names[1].startswith("Clip-")
    assert names[2].startswith("run.json-")
    assert names[5].startswith("longlong") and len(names[5]) < 80


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("a/v.mp4", "a/v_movseg"),
        ("v.mp4", "v_movseg"),
        ("clips", "clips_movseg"),
        ("clips/", "clips_movseg"),
        ("v1.5", "v1.5_movseg"),
        ("0", "camera0_movseg"),
        ("-", "stdin_movseg"),
        ("https://a.b/c/d.mp4?x", "d_movseg"),
    ],
)
def test_results_go_beside_the_video_by_default(argument, expected):
    assert str(default_folder(argument)) == expected


def test_results_of_this_folder_go_beside_it(place, monkeypatch):
    monkeypatch.chdir(place / "clips")
    assert default_folder(".") == place / "clips_movseg"
    assert default_folder("..") == place.with_name(f"{place.name}_movseg")


# Shards --------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(0, 40))
def test_shards_are_a_partition(count, length):
    videos = [str(i) for i in range(length)]
    parts = [Shard.parse(f"{i}/{count}").of(videos) for i in range(1, count + 1)]
    assert sorted([video for part in parts for video in part], key=int) == videos
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.text(string.digits + "/- \n٣", max_size=5))
def test_anything_else_is_no_shard(text):
    number, slash, count = text.partition("/")
    valid = slash and number.isascii() and number.isdecimal() and count.isascii()
    valid = valid and count.isdecimal() and 1 <= int(number) <= int(count)
    if valid:
        assert Shard.parse(text) == (int(number), int(count))
    else:
        with pytest.raises(InputError, match="such as 1/8 to 8/8"):
            Shard.parse(text)
