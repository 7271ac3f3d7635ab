"""The commands of `movseg`: dataclasses of their arguments, which run them."""

from movseg_jax.cli.app import main as main
