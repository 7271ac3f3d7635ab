"""Data sets, and the batches that training and evaluation read from them.

A source gives examples, which are batched like this:

    datasets/ (a `Layout` per data set) -> frames.FrameSource   \
    building.prepare -> array records -> prepared.PreparedSource -> Source of Examples
    datasets/synthetic (rendered scenes)                        /
    Source -> selection (parts, joins) -> sampling (the order) -> loader (batches)

`sources.open_source` opens a data set by its name, and `checking.check` looks for
problems in its folder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
