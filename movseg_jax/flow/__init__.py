"""Optical flow on the host: float32 [h, w, 2], displacement (x, y) in pixels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
