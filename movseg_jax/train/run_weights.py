"""The weights that a run leaves: those of its end and of its best evaluation."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from movseg_jax.config import Config
from movseg_jax.model.weights import RUN_WEIGHTS, save_weights
from movseg_jax.train import freezing
from movseg_jax.train.step import TrainState

BEST_WEIGHTS = "best.safetensors"
SCORE = "mask_ap50"  # The measure by which an evaluation is the best.


def best_params(state: TrainState) -> Any:
    """The parameters to use: the moving average where there is one."""
    if state.average is None:
        return state.params
    return freezing.join(state.average, state.params)


def write_weights(
    workdir: Path, config: Config, state: TrainState, licence: str | None
) -> None:
    """Writes the weights of a finished run.

    Raises:
        InputError: They cannot be written.
    """
    _write(workdir / RUN_WEIGHTS, config, best_params(state), int(state.step), licence)


class BestWeights:
    """The weights of a run's best evaluation, in `best.safetensors`.

    A long run on few data overfits: its last weights are worse than earlier ones.
    """

    def __init__(self, workdir: Path, step: int):
        """Opens them where training stands: those of later steps are removed."""
        self._path = workdir / BEST_WEIGHTS
        self._score = -math.inf
        known = _known(self._path)
        if known is not None and known[0] <= step:
            self._score = known[1]
        else:
            for path in (self._path, self._path.with_suffix(".json")):
                path.unlink(missing_ok=True)

    def offer(
        self,
        step: int,
        params: Any,
        metrics: Mapping[str, float],
        config: Config,
        licence: str | None,
    ) -> None:
        """Writes these weights if no evaluation was better.

        Args:
            step: The number of updates made.
            params: The parameters that were evaluated.
            metrics: The evaluation's measures. Without `SCORE` it is never the best.
            config: The run's config.
            licence: The licence of the weights that the run started from.

        Raises:
            InputError: They cannot be written.
        """
        score = metrics.get(SCORE, math.nan)
        if score >= self._score:  # Not a NaN.
            known = {k: v for k, v in metrics.items() if math.isfinite(v)}
            _write(self._path, config, params, step, licence, evaluation=known)
            self._score = score


def _known(path: Path) -> tuple[int, float] | None:
    """The step and the score of weights that are there."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        card = json.loads(path.with_suffix(".json").read_bytes())["card"]
        if path.exists():
            return int(card["trained"]["steps"]), float(card["evaluation"][SCORE])
    return None


def _write(path, config, params, step, licence, **more):
    card: dict[str, Any] = {
        "trained": {"steps": step, "config": dataclasses.asdict(config)},
        **more,
    }
    if licence:  # What is made of licensed weights keeps their licence.
        card["licence"] = licence
    params = jax.device_get(params)
    save_weights(path, params, config.model, card, overwrite=True)
