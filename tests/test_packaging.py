"""What package indexes show leads somewhere, once the repository has an address."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/someone/a-name"
LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture
def copy(tmp_path):
    """The files that links come from."""
    for name in ("pyproject.toml", "README.md", "CITATION.cff", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("scripts", "colabs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("LICENSE", "movseg_jax/weights/MODEL_CARD.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_address(folder, address):
    script = folder / "scripts/set_repository.py"
    command = [sys.executable, str(script), address]
    return subprocess.run(command, capture_output=True, text=True)


def metadata(folder):
    return ProjectMetadata(str(folder), PluginManager()).core


def test_without_an_address_links_stay_as_they_are(copy):
    found = metadata(copy)
    assert found.readme == (ROOT / "README.md").read_text() and not found.urls
    assert found.license_expression == "Apache-2.0 AND CC-BY-NC-4.0"


def test_with_an_address_all_links_are_absolute(copy):
    assert set_address(copy, ADDRESS).returncode == 0
    found = metadata(copy)
    assert found.urls == {"Repository": ADDRESS}
    targets = LINK.findall(found.readme)
    assert all(target.startswith("https://") for target in targets)
    assert f"{ADDRESS}/raw/main/docs/pictures/teaser.webp" in targets
    assert f"{ADDRESS}/blob/main/docs/results.md" in targets
    assert f'repository-code: "{ADDRESS}"' in (copy / "CITATION.cff").read_text()


def test_each_notebook_has_a_badge_and_another_address_replaces_the_first(copy):
    for address in (ADDRESS, "https://github.com/other/repository"):
        assert set_address(copy, address).returncode == 0
    text = (copy / "README.md").read_text()
    assert "someone" not in text
    notebooks = sorted((ROOT / "colabs").glob("*.ipynb"))
    page = "https://colab.research.google.com/github/other/repository/blob/main/colabs"
    assert all(f"({page}/{notebook.name})" in text for notebook in notebooks)


def test_notebooks_install_the_package_from_the_address(copy):
    jupytext = pytest.importorskip("jupytext")
    for address in (ADDRESS, "https://github.com/other/repository"):
        assert set_address(copy, address).returncode == 0
    files = sorted((copy / "colabs").iterdir())
    assert len(files) == 6
    for file in files:
        codes = [cell["source"] for cell in jupytext.read(file)["cells"]]
        (first,) = [code for code in codes if "PACKAGE = " in code]
        assert 'PACKAGE = "git+https://github.com/other/repository"\n' in first


@pytest.mark.parametrize("address", ["http://github.com/a/b", "https://github.com/a"])
def test_another_kind_of_address_is_refused_and_changes_nothing(copy, address):
    before = (copy / "README.md").read_text()
    assert set_address(copy, address).returncode == 2
    assert (copy / "README.md").read_text() == before
