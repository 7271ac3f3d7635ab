"""The commands of `movseg`: dataclasses of their arguments, which run them."""
