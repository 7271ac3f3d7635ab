"""Tracks as files: those of data sets, of other tools, and pictures to work with."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
