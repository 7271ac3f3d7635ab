"""Makes a model the one that comes with the package, in half the bytes.

    python scripts/bundle_weights.py runs/default/joint runs/default/joint_seed1 \\
        runs/default/joint_seed2 --moves 1 -0.9 --rests 1 1 --proposals 100 \\
        --sides 272 480

Parameters are rounded to bfloat16 and used as float32. If there are several runs of one
model, for example with different seeds, their mean is taken. --moves and --rests each
give a number by which the "object" logits of the box heads for moving and for
stationary objects are multiplied, and one to add, as `scripts/calibrate_scores.py`
finds them: a model that was trained briefly is less confident than the tracker's
thresholds of Dave et al. (2019) expect. --sides replaces the sizes that frames are
resized to, and --proposals the number of proposals. `scripts/compare_models.py`
measures what each option changes.
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
    parser.add_argument(
        "runs", type=Path, nargs="+", help="folders of finished training runs"
    )
    for name in ("--moves", "--rests"):
        parser.add_argument(
            name, type=float, nargs=2, default=(1, 0), metavar=("SCALE", "SHIFT")
        )
    parser.add_argument("--sides", type=int, nargs=2, metavar=("SHORT", "LONG"))
    parser.add_argument("--proposals", type=int)
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--fusion", help="of the runs, if it is code of yours")
    options = parser.parse_args()
    models = [
        load_weights(run / RUN_WEIGHTS, fusion=options.fusion) for run in options.runs
    ]
    weights = models[0]
    if any(model.config != weights.config for model in models):
        parser.error("The runs are of different models.")
    params = jax.tree.map(
        lambda *parts: np.mean(parts, axis=0), *(model.params for model in models)
    )
    calibration = {"moves": options.moves, "rests": options.rests}
    for part, name in ((params, "moves"), (params.get("static"), "rests")):
        if part:
            scale, shift = calibration[name]
            logits = part["box_head"]["logits"]
            # 0 is the background; scores depend on the difference to it alone.
            logits["kernel"] *= scale
            logits["bias"] *= scale
            logits["bias"][1:] += shift
    params = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), params)
    config = weights.config
    short, long = options.sides or (config.short_side, config.long_side)
    config = dataclasses.replace(
        config,
        short_side=short,
        long_side=long,
        proposals=options.proposals or config.proposals,
    )
    card = {**weights.card, "bundled": calibration, "licence": LICENCE}
    if len(models) > 1:
        card["averaged"] = [run.name for run in options.runs]
    save_weights(options.out, params, config, card, overwrite=True)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
