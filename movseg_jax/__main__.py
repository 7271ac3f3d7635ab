"""`python -m movseg_jax` is `movseg`."""

import sys

from movseg_jax.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
