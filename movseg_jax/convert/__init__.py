"""Converts weight files of other frameworks to parameters of our detector.

- `foreign` reads the arrays of a file: PyTorch's, Detectron's, NumPy's, safetensors.
- `pickle_machine` reads the pickles in them without running anything that they name;
  `pickled_objects` lists the names that they may use.
- `names` lists the layers' names in other frameworks, one `Family` for each.
- `mapping` takes single layers from a file, and accounts for every array in it.
- `models` assembles complete models: `convert_weights`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
