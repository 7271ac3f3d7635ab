"""Segment and track anything that moves in a video, in JAX and Flax.

The public names, imported when they are first used, so that importing the package
costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from movseg_jax.config import Config as Config
    from movseg_jax.config import Convention as Convention
    from movseg_jax.config import ModelConfig as ModelConfig
    from movseg_jax.config import TrunkConfig as TrunkConfig
    from movseg_jax.config import load_config as load_config
    from movseg_jax.convert import Converted as Converted
    from movseg_jax.convert import convert_weights as convert_weights
    from movseg_jax.detector import Detector as Detector
    from movseg_jax.errors import InputError as InputError
    from movseg_jax.flow.encoding import encode_flow as encode_flow
    from movseg_jax.preprocessing import preprocess as preprocess
    from movseg_jax.preprocessing import stack as stack
    from movseg_jax.types import Detections as Detections
    from movseg_jax.types import Inputs as Inputs
    from movseg_jax.types import Outputs as Outputs
    from movseg_jax.types import Proposals as Proposals
    from movseg_jax.weights.files import Weights as Weights
    from movseg_jax.weights.files import load_weights as load_weights
    from movseg_jax.weights.files import save_weights as save_weights

_MODULES = {
    "Config": "config",
    "Convention": "config",
    "Converted": "convert",
    "Detections": "types",
    "Detector": "detector",
    "InputError": "errors",
    "Inputs": "types",
    "ModelConfig": "config",
    "Outputs": "types",
    "Proposals": "types",
    "TrunkConfig": "config",
    "Weights": "weights.files",
    "convert_weights": "convert",
    "encode_flow": "flow.encoding",
    "load_config": "config",
    "load_weights": "weights.files",
    "preprocess": "preprocessing",
    "save_weights": "weights.files",
    "stack": "preprocessing",
}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted([*globals(), *_MODULES])
