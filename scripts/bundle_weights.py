"""Makes a model the one that comes with the package, in half the bytes.

    python scripts/bundle_weights.py runs/rendered/joint

Parameters are rounded to bfloat16, and computed with as float32.
`scripts/compare_models.py` says whether that loses anything.
"""

import argparse
from pathlib import Path

import jax
import ml_dtypes
import numpy as np

from movseg_jax.segment.detector import BUNDLED
from movseg_jax.train.loop import WEIGHTS
from movseg_jax.weights.files import load_weights, save_weights


def main() -> None:
    """Writes the weights and their card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished training run")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    options = parser.parse_args()
    weights = load_weights(options.run / WEIGHTS)
    params = jax.tree.map(lambda x: np.asarray(x, ml_dtypes.bfloat16), weights.params)
    save_weights(options.out, params, weights.config, weights.card, overwrite=True)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
