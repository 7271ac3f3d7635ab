"""Segment and track anything that moves in a video, in JAX and Flax.

The most used names are here, the others in namespaces such as `movseg_jax.flow`. The
stubs `__init__.pyi` list them. Everything is imported when it is first used, so that
importing the package costs nothing.
"""

import warnings

import lazy_loader

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Names that were here in release 0.1.0, by the namespace that has them now. They keep
# working for one release.
_MOVED = {
    "config": "AugmentConfig Convention DataConfig SourceConfig TrunkConfig",
    "convert": "Converted",
    "data": "Example Loader Source SyntheticSource open_source with_flow",
    "flow": "FlowFolder estimate_flows flow_picture get_estimator read_flow write_flow",
    "model": "Weights make_inputs",
    "results": "Detection FrameDetections Sighting TrackedFrame",
    "scenes": "SceneConfig make_scene render_clip render_frame",
    "track": "Links TrackedFrames",
    "types": "Batch Detections Inputs Objects Outputs Proposals",
    "video": "Frame VideoInfo VideoWriter probe",
}
_NAMESPACES = {name: space for space, names in _MOVED.items() for name in names.split()}


def __getattr__(name: str):
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("movseg-jax")
    if name not in _NAMESPACES:
        return _import(name)
    namespace = _NAMESPACES[name]
    warnings.warn(
        f"movseg_jax.{name} has moved to movseg_jax.{namespace}.{name}; the old name "
        "will be removed.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(_import(namespace), name)
