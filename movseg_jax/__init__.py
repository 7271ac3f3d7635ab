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
    from movseg_jax.config import load_config as load_config
    from movseg_jax.convert import Converted as Converted
    from movseg_jax.convert import convert_weights as convert_weights
    from movseg_jax.data.example import Example as Example
    from movseg_jax.data.example import Source as Source
    from movseg_jax.data.loader import Loader as Loader
    from movseg_jax.data.selection import with_flow as with_flow
    from movseg_jax.data.sources import open_source as open_source
    from movseg_jax.data.synthetic.config import SceneConfig as SceneConfig
    from movseg_jax.data.synthetic.render import render_clip as render_clip
    from movseg_jax.data.synthetic.render import render_frame as render_frame
    from movseg_jax.data.synthetic.source import SyntheticSource as SyntheticSource
    from movseg_jax.data.synthetic.staging import make_scene as make_scene
    from movseg_jax.detector import Detector as Detector
    from movseg_jax.errors import InputError as InputError
    from movseg_jax.flow.encoding import encode_flow as encode_flow
    from movseg_jax.flow.estimators import estimate_flows as estimate_flows
    from movseg_jax.flow.estimators import get_estimator as get_estimator
    from movseg_jax.flow.files import read_flow as read_flow
    from movseg_jax.flow.files import write_flow as write_flow
    from movseg_jax.flow.folder import FlowFolder as FlowFolder
    from movseg_jax.flow.pictures import flow_picture as flow_picture
    from movseg_jax.formats.conversion import read_tracks as read_tracks
    from movseg_jax.formats.conversion import write_tracks as write_tracks
    from movseg_jax.inputs import make_inputs as make_inputs
    from movseg_jax.preprocessing import preprocess as preprocess
    from movseg_jax.preprocessing import stack as stack
    from movseg_jax.segment.detecting import detect_frames as detect_frames
    from movseg_jax.segment.detector import TrainedDetector as TrainedDetector
    from movseg_jax.segment.detector import load_detector as load_detector
    from movseg_jax.segment.video import segment_video as segment_video
    from movseg_jax.track.linking import Linker as Linker
    from movseg_jax.track.linking import link as link
    from movseg_jax.track.links import Links as Links
    from movseg_jax.track.links import TrackedFrames as TrackedFrames
    from movseg_jax.tracks import Detection as Detection
    from movseg_jax.tracks import FrameDetections as FrameDetections
    from movseg_jax.tracks import Sighting as Sighting
    from movseg_jax.tracks import TrackedFrame as TrackedFrame
    from movseg_jax.types import Batch as Batch
    from movseg_jax.types import Detections as Detections
    from movseg_jax.types import Inputs as Inputs
    from movseg_jax.types import Objects as Objects
    from movseg_jax.types import Outputs as Outputs
    from movseg_jax.types import Proposals as Proposals
    from movseg_jax.video.reading import Frame as Frame
    from movseg_jax.video.reading import VideoInfo as VideoInfo
    from movseg_jax.video.reading import probe as probe
    from movseg_jax.video.reading import read_frames as read_frames
    from movseg_jax.video.writing import VideoWriter as VideoWriter
    from movseg_jax.viz import draw_tracks as draw_tracks
    from movseg_jax.viz import write_overlay as write_overlay
    from movseg_jax.weights.files import Weights as Weights
    from movseg_jax.weights.files import load_weights as load_weights
    from movseg_jax.weights.files import save_weights as save_weights

_MODULES = {
    "AugmentConfig": "config",
    "Batch": "types",
    "Config": "config",
    "Convention": "config",
    "Converted": "convert",
    "DataConfig": "config",
    "Detection": "tracks",
    "Detections": "types",
    "Detector": "detector",
    "Example": "data.example",
    "FlowFolder": "flow.folder",
    "Frame": "video.reading",
    "FrameDetections": "tracks",
    "InputError": "errors",
    "Inputs": "types",
    "Linker": "track.linking",
    "Links": "track.links",
    "Loader": "data.loader",
    "ModelConfig": "config",
    "Objects": "types",
    "Outputs": "types",
    "Proposals": "types",
    "SceneConfig": "data.synthetic.config",
    "Sighting": "tracks",
    "Source": "data.example",
    "SourceConfig": "config",
    "SyntheticSource": "data.synthetic.source",
    "TrackConfig": "config",
    "TrackedFrame": "tracks",
    "TrackedFrames": "track.links",
    "TrainedDetector": "segment.detector",
    "TrunkConfig": "config",
    "VideoInfo": "video.reading",
    "VideoWriter": "video.writing",
    "Weights": "weights.files",
    "convert_weights": "convert",
    "detect_frames": "segment.detecting",
    "draw_tracks": "viz",
    "encode_flow": "flow.encoding",
    "estimate_flows": "flow.estimators",
    "flow_picture": "flow.pictures",
    "get_estimator": "flow.estimators",
    "link": "track.linking",
    "load_config": "config",
    "load_detector": "segment.detector",
    "load_weights": "weights.files",
    "make_inputs": "inputs",
    "make_scene": "data.synthetic.staging",
    "open_source": "data.sources",
    "preprocess": "preprocessing",
    "probe": "video.reading",
    "read_flow": "flow.files",
    "read_frames": "video.reading",
    "read_tracks": "formats.conversion",
    "render_clip": "data.synthetic.render",
    "render_frame": "data.synthetic.render",
    "save_weights": "weights.files",
    "segment_video": "segment.video",
    "stack": "preprocessing",
    "with_flow": "data.selection",
    "write_flow": "flow.files",
    "write_overlay": "viz",
    "write_tracks": "formats.conversion",
}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted([*globals(), *_MODULES])
