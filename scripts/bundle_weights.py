"""Makes a model the one that comes with the package, in half the bytes.

    python scripts/bundle_weights.py runs/default/joint --surer 1.5 2.25 --sides 272 480

Parameters are rounded to bfloat16 and used as float32. The two numbers of --surer are
added to the "object" logits of the box heads for moving and for stationary objects: a
model that was trained briefly is less confident than the tracker's thresholds of Dave
et al. (2019) expect. --sides replaces the sizes that frames are resized to.
`scripts/compare_models.py` measures what each option changes.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import ml_dtypes
import numpy as np

from movseg_jax.model.weights import BUNDLED, RUN_WEIGHTS, load_weights, save_weights

LICENCE = "CC BY-NC 4.0"  # As DAVIS 2016 is, see MODEL_CARD.md.


def main() -> None:
    """Writes the weights and their card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished training run")
    parser.add_argument(
        "--surer", type=float, nargs=2, default=(0, 0), metavar=("MOVES", "RESTS")
    )
    parser.add_argument("--sides", type=int, nargs=2, metavar=("SHORT", "LONG"))
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--fusion", help="of the run, if it is code of yours")
    options = parser.parse_args()
    weights = load_weights(options.run / RUN_WEIGHTS, fusion=options.fusion)
    params = jax.tree.map(np.array, weights.params)
    for part, more in zip((params, params.get("static")), options.surer, strict=True):
        if part:
            part["box_head"]["logits"]["bias"][1:] += more  # 0: background.
    params = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), params)
    config = weights.config
    short, long = options.sides or (config.short_side, config.long_side)
    config = dataclasses.replace(config, short_side=short, long_side=long)
    card = {**weights.card, "bundled": {"surer": options.surer}, "licence": LICENCE}
    save_weights(options.out, params, config, card, overwrite=True)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
