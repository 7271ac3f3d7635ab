"""Short clips of a rendered world, with exact truth; nothing to download.

`staging.make_scene` draws a scene by (config, seed, number), `render.render_frame` and
`render_clip` show it, `source.SyntheticSource` makes a data set of it, and
`clips.write_clips` files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
