"""Data: sets of annotated videos and images, rendered scenes, transforms, loader."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
