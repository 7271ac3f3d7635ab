"""Reads and writes image files.

`codecs` opens and reads files, `pixels` returns their values; `encoders` writes JPEG
and PNG. `ids` checks mask images, whose values are objects' numbers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
