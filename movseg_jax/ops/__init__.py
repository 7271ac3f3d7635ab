"""Detection operators: pure functions on the arrays of one image.

Shapes are static and padding is marked by `valid`; batch with `jax.vmap`. `README.md`
beside this file says what was measured to choose each algorithm.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
