"""Segment and track anything that moves in a video, in JAX and Flax.

The public names, imported when they are first used, so that importing the package
costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from movseg_jax.config import AugmentConfig as AugmentConfig
    from movseg_jax.config import Config as Config
    from movseg_jax.config import Convention as Convention
    from movseg_jax.config import DataConfig as DataConfig
    from movseg_jax.config import ModelConfig as ModelConfig
    from movseg_jax.config import SourceConfig as SourceConfig
    from movseg_jax.config import TrackConfig as TrackConfig
    from movseg_jax.config import TrunkConfig as TrunkConfig
    from movseg_jax.config_files import load_config as load_config
    from movseg_jax.convert.models import Converted as Converted
    from movseg_jax.convert.models import convert_weights as convert_weights
    from movseg_jax.data.datasets.synthetic import SyntheticSource as SyntheticSource
    from movseg_jax.data.example import Example as Example
    from movseg_jax.data.example import Source as Source
    from movseg_jax.data.loader import Loader as Loader
    from movseg_jax.data.selection import with_flow as with_flow
    from movseg_jax.data.sources import open_source as open_source
    from movseg_jax.errors import InputError as InputError
    from movseg_jax.flow.colour_wheel import flow_picture as flow_picture
    from movseg_jax.flow.encoding import encode_flow as encode_flow
    from movseg_jax.flow.estimators import estimate_flows as estimate_flows
    from movseg_jax.flow.estimators import get_estimator as get_estimator
    from movseg_jax.flow.files import read_flow as read_flow
    from movseg_jax.flow.files import write_flow as write_flow
    from movseg_jax.flow.folder import FlowFolder as FlowFolder
    from movseg_jax.formats.conversion import read_tracks as read_tracks
    from movseg_jax.formats.conversion import write_tracks as write_tracks
    from movseg_jax.model.detector import Detector as Detector
    from movseg_jax.model.inputs import make_inputs as make_inputs
    from movseg_jax.model.inputs import preprocess as preprocess
    from movseg_jax.model.inputs import stack as stack
    from movseg_jax.model.loading import TrainedDetector as TrainedDetector
    from movseg_jax.model.loading import load_detector as load_detector
    from movseg_jax.model.weights import Weights as Weights
    from movseg_jax.model.weights import load_weights as load_weights
    from movseg_jax.model.weights import save_weights as save_weights
    from movseg_jax.results import Detection as Detection
    from movseg_jax.results import FrameDetections as FrameDetections
    from movseg_jax.results import Sighting as Sighting
    from movseg_jax.results import TrackedFrame as TrackedFrame
    from movseg_jax.scenes.render import render_clip as render_clip
    from movseg_jax.scenes.render import render_frame as render_frame
    from movseg_jax.scenes.scene_config import SceneConfig as SceneConfig
    from movseg_jax.scenes.staging import make_scene as make_scene
    from movseg_jax.segment.api import segment_video as segment_video
    from movseg_jax.segment.detecting import detect_frames as detect_frames
    from movseg_jax.track.linking import Linker as Linker
    from movseg_jax.track.linking import link as link
    from movseg_jax.track.links import Links as Links
    from movseg_jax.track.links import TrackedFrames as TrackedFrames
    from movseg_jax.types import Batch as Batch
    from movseg_jax.types import Detections as Detections
    from movseg_jax.types import Inputs as Inputs
    from movseg_jax.types import Objects as Objects
    from movseg_jax.types import Outputs as Outputs
    from movseg_jax.types import Proposals as Proposals
    from movseg_jax.video.overlay import draw_tracks as draw_tracks
    from movseg_jax.video.overlay import write_overlay as write_overlay
    from movseg_jax.video.reading import Frame as Frame
    from movseg_jax.video.reading import VideoInfo as VideoInfo
    from movseg_jax.video.reading import probe as probe
    from movseg_jax.video.reading import read_frames as read_frames
    from movseg_jax.video.writing import VideoWriter as VideoWriter

_MODULES = {
    "AugmentConfig": "config",
    "Batch": "types",
    "Config": "config",
    "Convention": "config",
    "Converted": "convert.models",
    "DataConfig": "config",
    "Detection": "results",
    "Detections": "types",
    "Detector": "model.detector",
    "Example": "data.example",
    "FlowFolder": "flow.folder",
    "Frame": "video.reading",
    "FrameDetections": "results",
    "InputError": "errors",
    "Inputs": "types",
    "Linker": "track.linking",
    "Links": "track.links",
    "Loader": "data.loader",
    "ModelConfig": "config",
    "Objects": "types",
    "Outputs": "types",
    "Proposals": "types",
    "SceneConfig": "scenes.scene_config",
    "Sighting": "results",
    "Source": "data.example",
    "SourceConfig": "config",
    "SyntheticSource": "data.datasets.synthetic",
    "TrackConfig": "config",
    "TrackedFrame": "results",
    "TrackedFrames": "track.links",
    "TrainedDetector": "model.loading",
    "TrunkConfig": "config",
    "VideoInfo": "video.reading",
    "VideoWriter": "video.writing",
    "Weights": "model.weights",
    "convert_weights": "convert.models",
    "detect_frames": "segment.detecting",
    "draw_tracks": "video.overlay",
    "encode_flow": "flow.encoding",
    "estimate_flows": "flow.estimators",
    "flow_picture": "flow.colour_wheel",
    "get_estimator": "flow.estimators",
    "link": "track.linking",
    "load_config": "config_files",
    "load_detector": "model.loading",
    "load_weights": "model.weights",
    "make_inputs": "model.inputs",
    "make_scene": "scenes.staging",
    "open_source": "data.sources",
    "preprocess": "model.inputs",
    "probe": "video.reading",
    "read_flow": "flow.files",
    "read_frames": "video.reading",
    "read_tracks": "formats.conversion",
    "render_clip": "scenes.render",
    "render_frame": "scenes.render",
    "save_weights": "model.weights",
    "segment_video": "segment.api",
    "stack": "model.inputs",
    "with_flow": "data.selection",
    "write_flow": "flow.files",
    "write_overlay": "video.overlay",
    "write_tracks": "formats.conversion",
}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted([*globals(), *_MODULES])
