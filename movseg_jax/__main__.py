"""Runs the command line: `python -m movseg_jax` does the same as `movseg`."""

import sys

from movseg_jax.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
