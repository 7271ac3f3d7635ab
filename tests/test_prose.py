"""Docstrings are plain sentences, and names say which of two things is meant."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "movseg_jax"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stem[:2] != "__"]
PARTS = sorted(path for path in PACKAGE.iterdir() if list(path.glob("*.py")))
# An entry says what a thing is, so it starts with a noun phrase or with "Whether".
RIDDLE = re.compile(
    r"(Of|As|That|In|For|With|By|From|To|What|Which|How|At|On|Those|Its|Also|Both|One)\b"
)
ENTRY = re.compile(r"    \w[\w, *]*: (.*)")

# Data sets and formats have a module in each package that knows them.
SAME_FILE_NAMES = {"coco", "davis", "fbms", "base", "results"}
SAME_CLASS_NAMES = {
    "Batch",  # A command is called like its class.
    "Family",
    "Frame",
    "Header",
    "Layout",
    "Objects",
    "Rendered",
    "Source",
    "Step",
    "Survey",
    "Truth",
}


def documented(path):
    """Each docstring of a file, with the line that it belongs to."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if text := ast.get_docstring(node):
                yield getattr(node, "lineno", 1), text


def entries(docstring):
    """The descriptions of arguments and attributes, each by its first line."""
    section = ""
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            section = line
        elif section in ("Args:", "Attributes:") and (found := ENTRY.fullmatch(line)):
            yield found[1]


def riddles(path):
    """First lines of docstrings and of entries that need a second reading."""
    for number, docstring in documented(path):
        first = docstring.splitlines()[0]
        if RIDDLE.match(first) or len(first.split()) < 3:
            yield f"{path.relative_to(ROOT)}:{number}: {first}"
        for entry in entries(docstring):
            if RIDDLE.match(entry):
                yield f"{path.relative_to(ROOT)}:{number}: {entry}"


@pytest.mark.parametrize(
    "folder",
    [*PARTS, ROOT / "configs", ROOT / "scripts"],
    ids=lambda folder: str(folder.relative_to(ROOT)),
)
def test_docstrings_say_what_things_are(folder):
    found = [line for path in sorted(folder.rglob("*.py")) for line in riddles(path)]
    assert not found, "\n".join(found)


def test_modules_of_the_package_say_what_they_do():
    found = [line for path in sorted(PACKAGE.glob("*.py")) for line in riddles(path)]
    assert not found, "\n".join(found)


def places(named):
    """Of pairs of a name and a module, the names that are there twice."""
    found = defaultdict(list)
    for name, path in named:
        found[name].append(str(path.relative_to(ROOT)))
    return {name: where for name, where in found.items() if len(where) > 1}


def test_no_two_modules_have_one_name():
    # A command's module may be called like what it runs.
    modules = [path for path in MODULES if path.parent.name != "cli"]
    twice = places((path.stem, path) for path in modules)
    assert {name: twice[name] for name in twice.keys() - SAME_FILE_NAMES} == {}
    assert SAME_FILE_NAMES <= twice.keys(), "Remove names from the list."


def test_no_two_classes_have_one_name():
    twice = places(
        (node.name, path)
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert {name: twice[name] for name in twice.keys() - SAME_CLASS_NAMES} == {}
    assert SAME_CLASS_NAMES <= twice.keys(), "Remove names from the list."
