"""The names that users import: flat, in namespaces, and of release 0.1.0."""

import dataclasses
import inspect
import subprocess
import sys
import types
import typing
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import pytest

import movseg_jax as ms

ROOT = Path(__file__).parents[1]
NAMESPACES = [
    name
    for name in ms.__all__
    if isinstance(getattr(ms, name), types.ModuleType)
    and hasattr(getattr(ms, name), "__all__")
]


def test_the_version_is_that_of_the_installed_package():
    assert ms.__version__ == version("movseg-jax")


@pytest.mark.parametrize("name", NAMESPACES)
def test_every_name_of_a_namespace_can_be_imported_and_is_listed(name):
    namespace = getattr(ms, name)
    assert namespace.__all__ and set(namespace.__all__) <= set(dir(namespace))
    for public in namespace.__all__:
        found = getattr(namespace, public)
        assert getattr(found, "__name__", public) == public


def test_a_function_is_not_shadowed_by_the_module_of_its_name():
    import movseg_jax.ops.roi_align  # noqa: F401

    assert callable(ms.ops.roi_align)


def test_namespaces_load_nothing_before_a_name_is_used():
    code = (
        "import sys, movseg_jax as ms\n"
        "ms.flow, ms.nn, ms.ops, ms.train, ms.data, ms.scenes\n"
        "heavy = {'jax', 'flax', 'cv2', 'numpy', 'grain'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    "old, namespace",
    [
        ("AugmentConfig", "config"),
        ("Batch", "types"),
        ("Converted", "convert"),
        ("Detection", "results"),
        ("Links", "track"),
        ("Loader", "data"),
        ("SceneConfig", "scenes"),
        ("VideoWriter", "video"),
        ("Weights", "model"),
        ("read_flow", "flow"),
    ],
)
def test_a_name_of_the_last_release_works_and_says_where_it_is_now(old, namespace):
    with pytest.warns(DeprecationWarning, match=rf"movseg_jax\.{namespace}\.{old}"):
        found = getattr(ms, old)
    assert found is getattr(getattr(ms, namespace), old)
    assert old not in ms.__all__


RELEASED = """
    AugmentConfig Batch Config Convention Converted DataConfig Detection Detections
    Detector Example FlowFolder Frame FrameDetections InputError Inputs Linker Links
    Loader ModelConfig Objects Outputs Proposals SceneConfig Sighting Source
    SourceConfig SyntheticSource TrackConfig TrackedFrame TrackedFrames
    TrainedDetector TrunkConfig VideoInfo VideoWriter Weights convert_weights
    detect_frames draw_tracks encode_flow estimate_flows flow_picture get_estimator
    link load_config load_detector load_weights make_inputs make_scene open_source
    preprocess probe read_flow read_frames read_tracks render_clip render_frame
    save_weights segment_video stack with_flow write_flow write_overlay write_tracks
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_name_of_the_last_release_is_lost():
    for name in RELEASED.split():
        assert hasattr(ms, name), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nope"):
        ms.nope  # noqa: B018


def public_functions():
    """Functions, constructors and methods of all namespaces, by name."""
    for space in (ms, *(getattr(ms, name) for name in NAMESPACES)):
        for name in space.__all__:
            found = getattr(space, name)
            if inspect.isfunction(found):
                yield name, found
            elif inspect.isclass(found) and not dataclasses.is_dataclass(found):
                for part, method in vars(found).items():
                    public = not part.startswith("_") or part == "__init__"
                    if public and inspect.isfunction(method):
                        yield f"{name}.{part}", method


def test_a_path_may_be_text_wherever_one_is_taken():
    functions = dict(public_functions())
    assert len(functions) > 100
    for name, function in functions.items():
        for parameter in inspect.signature(function).parameters.values():
            kind = parameter.annotation
            kinds = [kind, *typing.get_args(kind)]
            assert Path not in kinds or str in kinds, (name, parameter)


def test_whatever_users_have_in_hand_has_a_short_repr():
    mask = ms.masks.encode(np.ones((480, 854), bool))
    sighting = ms.results.Sighting(7, mask, 0.9, True, float("nan"))
    detection = ms.results.Detection(mask, 0.9, 2.0, colour=bytes(500))
    image = np.zeros((480, 854, 3), np.uint8)
    boxes = jax.numpy.zeros((1, 100, 4))
    weights = ms.load_weights("bundled")
    values = [
        mask,
        sighting,
        detection,
        ms.results.FrameDetections((detection,) * 50),
        ms.results.TrackedFrame("00001", (480, 854), 0.04, (sighting,) * 50),
        ms.video.Frame(1, "00001", image, 0.04),
        ms.track.Links.from_frames([range(100)] * 50),
        ms.types.Detections(*[boxes] * 5),
        weights,
        ms.TrainedDetector(weights.config, weights.params, "bundled", "0" * 64),
        ms.Tracks([ms.results.TrackedFrame("0", (9, 9), None, ())] * 50),
    ]
    for value in values:
        text = repr(value)
        assert text.startswith(type(value).__name__)
        assert len(text) < 300 and "\n" not in text, text
    assert "..." in repr(values[4])
