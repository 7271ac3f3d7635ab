"""Each test asserts something: without that it would pass on wrong results."""

import ast
from pathlib import Path

import pytest

FILES = {path.stem: path for path in Path(__file__).parent.rglob("*.py")}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def asserts(function, helpers):
    """Whether a function asserts, expects an error, or names a helper that does."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.keyword) and node.arg == "check":
            return True  # `subprocess.run` raises the error of a script's assertion.
        name = getattr(node, "id", getattr(node, "attr", ""))
        if name in {"raises", "warns", "fail", "check_grads", *helpers}:
            return True
        if name.startswith("assert_"):
            return True
    return False


def helpers_of(stem):
    """Names of a file's functions that assert, also those it imports from `tests`."""
    tree = ast.parse(FILES[stem].read_text())
    found = set()
    for node in tree.body:
        package, _, module = (getattr(node, "module", None) or "").rpartition(".")
        if package.startswith("tests") and module in FILES:
            imported = helpers_of(module)
            found |= imported & {alias.name for alias in node.names}
    while True:
        more = {f.name for f in functions(tree) if asserts(f, found)} - found
        if not more:
            return found
        found |= more


@pytest.mark.parametrize("stem", [stem for stem in FILES if stem.startswith("test_")])
def test_each_test_asserts_something(stem):
    helpers = helpers_of(stem)
    tests = [
        function.name
        for function in functions(ast.parse(FILES[stem].read_text()))
        if function.name.startswith("test_")
    ]
    assert [name for name in tests if name not in helpers] == []
