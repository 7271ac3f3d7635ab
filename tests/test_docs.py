"""The documentation: what it names exists, and its pages build without a warning."""

import ast
import operator
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import movseg_jax as ms
from movseg_jax.cli.app import parse
from movseg_jax.cli.arguments import read_config
from movseg_jax.cli.train import Train
from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.model.parameters import parameter_shapes
from movseg_jax.model.weights import save_weights
from tests.fakes import flow_network, layouts
from tests.fakes.square_detector import make_detector, scene, write_video

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
                assert operator.attrgetter(path.removeprefix("ms."))(ms), page


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_names_of_the_package_in_a_page_exist(page):
    for name in re.findall(r"`ms\.([\w.]+)", page.read_text()):
        assert operator.attrgetter(name)(ms)


def prepare_python(page, monkeypatch):
    """Prepares in the current folder what a page's code uses; returns its variables.

    The package's detector is replaced by one that compiles nothing.
    """
    detector = make_detector()
    for module in ("movseg_jax", "movseg_jax.model.loading"):
        monkeypatch.setattr(f"{module}.load_detector", lambda *_, **__: detector)
    names: dict = {"ms": ms}
    if page == "data.md":
        layouts.davis2016(Path("DAVIS"))
        ms.data.prepare("davis2016", "DAVIS", "data", splits=["train"], flow="dis")
    elif page == "weights.md":
        trunk = TrunkConfig(depth=14, width=8, norm="group")
        model = ModelConfig(trunk, None, short_side=32, long_side=64)
        shapes = parameter_shapes(model)
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        save_weights(Path("appearance.safetensors"), params, model, {})
        names["frame"], names["flow"] = next(scene(1)), None
    elif page == "flow_networks.md":
        flow_network.replace_network(monkeypatch)
        flow_network.write_weights(Path(), "raft_large")
        names["frame"], names["next_frame"] = scene(2)
    if page in ("README.md", "python.md", "flow_networks.md"):
        write_video(Path("video.mp4"), scene(42, (48, 160)))
    if page == "python.md":
        ms.segment.segment_to_folder("video.mp4", "results", detector)
        camera = ms.read_frames
        monkeypatch.setattr(ms, "read_frames", lambda source: camera("video.mp4"))
    return names


@pytest.mark.parametrize(
    "page, made",
    [
        ("README.md", ["frame.png", "overlay.mp4", "masks/00041.png"]),
        ("flow_networks.md", ["flow", "tracks"]),
        ("python.md", ["frame.png", "overlay.mp4", "tracks.json", "mask", "picture"]),
        pytest.param("data.md", ["example", "batch"], marks=pytest.mark.slow),
        pytest.param("weights.md", ["moving", "detector"], marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("quick_compilation")
def test_the_python_of_a_page_runs(page, made, tmp_path, monkeypatch):
    """All its blocks, one after the other, as a reader would try them.

    Others are run elsewhere: those of export.md by test_export.py, and that of
    fusion_lab.md by the notebook fusion_playground; refining.md needs SAM 2.
    """
    monkeypatch.chdir(tmp_path)
    names = prepare_python(page, monkeypatch)
    for name, code in blocks("python"):
        if name == page:
            exec(compile(code, page, "exec"), names)
    for name in made:  # Files and variables.
        assert Path(name).exists() or names.get(name) is not None, name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="needs the dependency group docs")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "segments and tracks" in (tmp_path / "index.html").read_text()
