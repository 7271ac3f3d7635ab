"""Videos in and out, one frame at a time: files, folders of frames, cameras."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
