"""The notebooks run from their first to their last cell."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

COLABS = Path(__file__).parents[1] / "colabs"
SOURCES = sorted(COLABS.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_that_of_its_source(source):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(source)
    stored = json.loads(source.with_suffix(".ipynb").read_text())
    assert [cell["cell_type"] for cell in stored["cells"]] == [
        cell["cell_type"] for cell in notebook.cells
    ]
    for cell, written in zip(notebook.cells, stored["cells"], strict=True):
        assert "".join(written["source"]) == cell["source"]
        assert not written.get("outputs")
    assert len(notebook.cells) <= 15


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_without_the_package_says_what_to_set(source, monkeypatch):
    cells = json.loads(source.with_suffix(".ipynb").read_text())["cells"]
    first = next("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    installed = []
    monkeypatch.setattr(subprocess, "run", lambda args, **_: installed.append(args))
    with pytest.raises(ValueError, match="copy of the repository, and set PACKAGE"):
        exec(first, {})
    exec(first.replace('PACKAGE = ""', 'PACKAGE = "/content/copy"'), {})
    assert [args[-1] for args in installed] == ["/content/copy"]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs(source, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
