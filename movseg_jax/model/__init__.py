"""The detector: from a frame and its flow to boxes, scores and masks; its weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
