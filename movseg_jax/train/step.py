"""A step of gradient descent as a pure function."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.experimental
import jax.numpy as jnp
import optax

from movseg_jax.train import parallel
from movseg_jax.train.freezing import join, split
from movseg_jax.train.losses import Term

Objective = Callable[[Any, Any, jax.Array], dict[str, Term]]

# JAX 0.8 moved it out of `jax.experimental`.
_X64 = jax if hasattr(jax, "enable_x64") else jax.experimental


class TrainState(NamedTuple):
    """The state of training, which a checkpoint holds.

    Attributes:
        step: Number of updates made, an int32 scalar.
        params: Parameters of the detector, nested dicts as Flax returns them.
        opt_state: State of the optax optimizer, for what trains.
        average: Exponential moving average of what trains; None if not asked for.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    average: Any = None


@dataclasses.dataclass(frozen=True, eq=False)  # `pmap` hashes it.
class Step:
    """Updates the parameters once; to be run under `parallel.data_parallel`.

    Attributes:
        objective: `(params, batch, keys) -> {name: Term}`, keys one per image.
        optimizer: The optimizer of the parameters that train.
        mask: A tree that is True for those: see `freezing.trains`.
        ema_decay: The decay of `TrainState.average`.
        microbatches: The number of parts that a device's share of the batch is cut
            into. They run one after the other, which saves memory, and the gradient is
            their mean.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    mask: Any
    ema_decay: float = 0.0
    microbatches: int = 1

    def __call__(
        self, state: TrainState, batch: Any, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Makes the step.

        Args:
            state: The state before the step.
            batch: This device's share of the batch.
            key: The run's random key; the step and each image's number are folded in.

        Returns:
            The new state; and the mean of each loss over the complete batch, their sum
            ("loss") and the norm of the gradient ("gradient_norm"), float32 scalars.
        """
        trained, frozen = split(state.params, self.mask)
        keys = _image_keys(jax.random.fold_in(key, state.step), batch)
        gradients, means = self._mean_gradients(trained, frozen, batch, keys)
        gradients, means = parallel.total((gradients, means))

        # Optax raises decays to the power of the step in JAX's default precision.
        with _X64.enable_x64(False):
            updates, opt_state = self.optimizer.update(
                gradients, state.opt_state, trained
            )
        trained = optax.apply_updates(trained, updates)
        average = state.average
        if average is not None:
            average = optax.incremental_update(trained, average, 1 - self.ema_decay)
        metrics = means | {
            "loss": sum(means.values()),
            "gradient_norm": optax.tree.norm(gradients),
        }
        params = join(trained, frozen)
        return TrainState(state.step + 1, params, opt_state, average), metrics

    def _mean_gradients(self, trained, frozen, *batch_and_keys):
        """The mean over microbatches of what `_gradients` gives."""
        if self.microbatches == 1:  # XLA makes less of a loop.
            return self._gradients(trained, frozen, *batch_and_keys)
        parts = jax.tree.map(
            lambda x: x.reshape(self.microbatches, -1, *x.shape[1:]), batch_and_keys
        )
        results = jax.lax.map(
            lambda part: self._gradients(trained, frozen, *part), parts
        )
        return jax.tree.map(lambda x: x.mean(axis=0), results)

    def _gradients(self, trained, frozen, batch, keys):
        """This device's part of the gradients and of the mean losses."""

        def share_of_loss(trained):
            terms = self.objective(join(trained, frozen), batch, keys)
            weights = parallel.total({name: t.weight for name, t in terms.items()})
            means = {
                name: term.sum / jnp.maximum(jax.lax.stop_gradient(weights[name]), 1)
                for name, term in terms.items()
            }
            return sum(means.values()), means

        return jax.grad(share_of_loss, has_aux=True)(trained)


def _image_keys(key, batch):
    """A key for each image, by its number in the complete batch.

    So the number of devices does not change what is drawn.
    """
    size = len(jax.tree.leaves(batch)[0])
    first = parallel.device_index() * size
    return jax.vmap(jax.random.fold_in, (None, 0))(
        key, first + jnp.arange(size, dtype=jnp.int32)
    )
