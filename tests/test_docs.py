"""The documentation: what it names exists, and its pages build without a warning."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="needs the dependency group docs")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "segments and tracks" in (tmp_path / "index.html").read_text()
