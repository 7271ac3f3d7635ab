"""The documentation: what it names exists, and its pages build without a warning."""

import ast
import operator
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import movseg_jax
from movseg_jax.cli.app import parse
from movseg_jax.cli.arguments import read_config
from movseg_jax.cli.train import Train

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_promise_names_a_test_that_exists():
    promised = re.findall(
        r"`(tests/\w+\.py)::(\w+)`", (DOCS / "reliability.md").read_text()
    )
    assert len(promised) > 20
    for file, test in promised:
        assert f"def {test}(" in (ROOT / file).read_text(), (file, test)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def blocks(language):
    """Each code block of the README and the pages, with its page."""
    pattern = rf"```{language}\n(.*?)```"
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        for block in re.findall(pattern, page.read_text(), re.DOTALL):
            yield page.name, block


def commands():
    for page, block in blocks("(?:bash|console)"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["movseg"] and ">" not in words:
                yield pytest.param(words[1:], id=f"{page}: {' '.join(words)}")


@pytest.mark.parametrize("arguments", [*commands()])
def test_a_command_in_the_docs_has_these_options(arguments):
    command = parse(arguments)
    assert hasattr(getattr(command, "command", command), "run")
    if isinstance(command, Train) and str(command.config) != "CONFIG":
        read_config(command.config, command.settings)


@pytest.mark.parametrize("page, code", [*blocks("python")])
def test_python_in_the_docs_uses_names_that_exist(page, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            if path.startswith("ms.") and path.replace(".", "").isidentifier():
                assert operator.attrgetter(path.removeprefix("ms."))(movseg_jax), page


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="needs the dependency group docs")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "segments and tracks" in (tmp_path / "index.html").read_text()
