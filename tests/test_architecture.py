"""The dependency rules of the package, so that breaking one fails a test."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "movseg_jax"

# Layers, lowest first. A module may import its own layer's folder and lower layers.
LAYERS = [
    {"errors"},
    {"system"},
    {"config_checks"},
    {"config", "config_json", "types", "images"},
    {"config_files", "masks"},
    {"ops", "results"},
    {"nn", "flow", "video", "track", "metrics"},
    {"model"},
    {"flow.networks"},
    {"formats", "report", "convert", "scenes"},
    {"data", "segment"},
    {"train", "evaluation"},
    {"demo", "doctor"},
    {"serve", "bench"},
    {"cli"},
    {"__main__"},
]
# Nothing that segments may import what trains or measures.
SEGMENTS = {
    *{"errors", "system", "config", "config_checks", "config_json", "types"},
    *{
        "images",
        "masks",
        "ops",
        "results",
        "nn",
        "flow",
        "video",
        "track",
        "model",
        "formats",
        "report",
    },
    *{"segment", "flow.networks"},
}
TRAINS = {"train", "data", "evaluation", "metrics", "scenes", "convert"}
# Which modules may import a library, at the top of the file or inside a function.
ONLY = {
    "jax": {
        *{"system", "ops", "nn", "model", "flow.networks", "segment", "train"},
        "bench",
    },
    "flax": {"nn", "model", "flow.networks", "train"},
    "optax": {"train"},
    "orbax": {"train"},
    "absl": {"data"},
    "av": {"doctor", "video"},
    "cv2": {
        "bench",
        "data",
        "evaluation",
        "flow",
        "formats",
        "images",
        "masks",
        "metrics",
        "model",
        "report",
        "scenes",
        "segment",
        "system",
        "video",
    },
    "fsspec": {"system"},
    "grain": {"data"},
    "matplotlib": {"train"},
    "pycocotools": {"masks"},
    "ray": {"system"},
    "safetensors": {"model"},
    "tyro": {"cli"},
    "tensorflow_datasets": {"data"},
    "gradio": {"serve"},
    "safehttpx": {"serve"},
    "tqdm": {"system", "train"},
    "tensorboardX": {"train"},
    "tensorflow": set(),
    "torch": set(),
    "pickle": set(),
    "dill": set(),
    "cloudpickle": set(),
    "marshal": set(),
    "shelve": set(),
    "yaml": set(),
}
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [
    path
    for folder in ("movseg_jax", "scripts", "tests", "configs", "colabs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(path):
    """Returns the folders and the name of a module of the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def part_of(names):
    """Returns the layer of a module, whose folders and name are given.

    Flow networks are a layer of their own: `flow` is below the networks' weights, and
    nothing in it needs JAX.
    """
    nested = ".".join(names[:2])
    return nested if nested in LEVEL else names[0]


def identify(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_imports_point_downwards(path):
    part = part_of(names(path))
    if part == "__init__":
        return
    for name in imports(path):
        library, *rest = name.split(".")
        if library in ONLY:
            assert part in ONLY[library], f"{part} must not import {library}"
        imported = part_of(rest) if rest else library
        if library == "movseg_jax" and imported in LEVEL:
            assert imported == part or LEVEL[imported] < LEVEL[part], (
                f"{part} must not import {imported}: see LAYERS"
            )
        elif library == "movseg_jax":
            # `from movseg_jax import X` gives X as the last part.
            raise AssertionError(f"{name} is in no layer: add it to LAYERS")
        if library == "movseg_jax" and part in SEGMENTS:
            assert imported not in TRAINS, f"{part} must not import {imported}"


def test_every_module_has_a_layer():
    parts = {part_of(names(path)) for path in MODULES}
    assert parts - {"__init__"} == LEVEL.keys()


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_nothing_executes_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in {"eval", "exec", "compile", "__import__"}, name
            assert not name.endswith(("pickle.load", "pickle.loads", "torch.load"))
            if name.endswith("import_module"):
                # Ours by name; and a fusion, whose name `load_weights` does not trust.
                assert path.name in {"__init__.py", "fusion.py"}
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert ast.unparse(keyword.value) == "False"


@pytest.mark.parametrize("path", SOURCES, ids=identify)
def test_no_function_is_longer_than_sixty_lines(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_no_module_is_longer_than_its_reader_s_patience(path):
    assert len(path.read_text().splitlines()) <= 450


def test_tests_and_colabs_use_public_names_only():
    for source in SOURCES:
        if source.relative_to(ROOT).parts[0] in ("tests", "colabs"):
            for name in imports(source):
                if name.startswith("movseg_jax."):
                    assert not any(p.startswith("_") for p in name.split("."))


def run_anew(code):
    """Runs code in a process of its own, which has imported nothing yet."""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_segmenting_loads_nothing_that_trains():
    code = (
        "import sys, movseg_jax as ms\n"
        "for name in ('segment_video', 'load_detector', 'write_tracks'):\n"
        "    getattr(ms, name)\n"
        "import movseg_jax.segment.run\n"
        "assert 'movseg_jax.flow.networks.estimator' not in sys.modules\n"
        "heavy = {'grain', 'optax', 'orbax', 'tensorflow_datasets', 'tyro'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    run_anew(code)


def test_segmenting_in_memory_loads_few_modules():
    """The network and the writers of files are loaded when they are needed."""
    code = (
        "import sys, movseg_jax.segment.api\n"
        "ours = [name for name in sys.modules if name.startswith('movseg_jax')]\n"
        "assert len(ours) <= 41, sorted(ours)\n"
        "heavy = {'flax', 'scipy.optimize', 'sqlite3'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    run_anew(code)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, movseg_jax.cli\n"
        "heavy = {'jax', 'flax', 'cv2', 'numpy', 'pycocotools', 'safetensors'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    run_anew(code)


def test_the_public_api_is_imported_lazily_and_completely():
    code = (
        "import sys, movseg_jax\n"
        "assert 'jax' not in sys.modules\n"
        "for name in movseg_jax.__all__: getattr(movseg_jax, name)\n"
        "assert set(movseg_jax.__all__) <= set(dir(movseg_jax))"
    )
    run_anew(code)
