"""Optimizers, from optax's parts: what the paper trains with, and AdamW."""

import functools
import math

import jax.numpy as jnp
import optax

from movseg_jax.config import OptimizerConfig
from movseg_jax.train.freezing import Tree, map_paths, matches


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate at every step: a linear warm-up, then drops or a cosine."""
    warmup = config.warmup_steps

    def rate(step):
        step = jnp.asarray(step, jnp.float32)
        ramp = jnp.minimum(step / warmup, 1.0) if warmup else 1.0
        factor = config.warmup_factor + (1 - config.warmup_factor) * ramp
        if config.schedule == "cosine":
            progress = jnp.clip((step - warmup) / max(steps - warmup, 1), 0.0, 1.0)
            factor = factor * 0.5 * (1 + jnp.cos(math.pi * progress))
        for drop in config.drops:
            factor = factor * jnp.where(step >= drop, config.drop_factor, 1.0)
        return config.learning_rate * factor

    return rate


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Gradients to updates, for the parameters that train.

    Biases learn `bias_rate` times as fast as the rest, and neither they nor norms decay
    (Detectron: 2 times). SGD keeps its momentum in units of the gradient, so a drop of
    the learning rate acts at once and only once; Detectron.pytorch also shrinks the
    momentum at every drop, which PyTorch's SGD, unlike Caffe2's, does not need.

    If several globs in `rates` match a parameter, all of their factors count.

    Raises:
        InputError: When the optimizer starts: a glob in `rates` matches no parameter
            that trains.
    """
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    decay = optax.add_decayed_weights(config.weight_decay, mask=_decays)
    if config.name == "sgd":
        parts += [decay, optax.trace(config.momentum)]
    else:
        parts += [optax.scale_by_adam(b1=config.momentum, b2=config.beta2), decay]
    parts.append(optax.masked(optax.scale(config.bias_rate), _is_bias))
    for glob, rate in config.rates:
        matching = functools.partial(matches, glob=glob, field="train.optimizer.rates")
        parts.append(optax.masked(optax.scale(rate), matching))
    parts.append(optax.scale_by_learning_rate(make_schedule(config, steps)))
    return optax.chain(*parts)


def _decays(params: Tree) -> Tree:
    """Kernels decay; biases, and the scales and offsets of norms, do not."""
    return map_paths(lambda path: path.endswith("/kernel"), params)


def _is_bias(params: Tree) -> Tree:
    return map_paths(lambda path: path.endswith("/bias"), params)
