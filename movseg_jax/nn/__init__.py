"""Flax Linen modules: backbones, feature pyramids, fusions and heads.

A module here is a pure function of its parameters: no mutable collections, no
randomness. Images are `[batch, height, width, channels]`, pyramids are `{level:
features}` with stride `2**level`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
