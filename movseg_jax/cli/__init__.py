"""The command line, `movseg`: one module per command, and `app`, which runs them."""

from movseg_jax.cli.app import main as main
