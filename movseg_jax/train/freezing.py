"""Splits parameters, named by path, into those that train and those that do not.

A parameter's path is its names joined by "/": "appearance/resnet/stem_conv/kernel".
The tree of what trains has an empty node (`optax.MaskedNode`) in place of each frozen
parameter. So its gradient and its optimizer state hold nothing for frozen parameters,
and the backward pass ends where no trained one is left.
"""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from movseg_jax.config import Config
from movseg_jax.errors import InputError

Tree = Any


def paths(tree: Tree) -> list[str]:
    """The path of every leaf, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return ["/".join(str(key.key) for key in path) for path, _ in leaves]


def map_paths(function: Callable[[str], Any], tree: Tree) -> Tree:
    """The tree with `function(path)` in the place of every leaf."""
    structure = jax.tree.structure(tree)
    return jax.tree.unflatten(structure, [function(path) for path in paths(tree)])


def frozen_globs(config: Config) -> tuple[str, ...]:
    """The globs of what a config freezes.

    No loss trains the static branch, which was trained in the appearance stage.
    """
    static = ("static/*",) if config.model.static_branch else ()
    return (*config.train.frozen, *static)


def trains(params: Tree, frozen: Sequence[str]) -> Tree:
    """True for every parameter that no glob in `frozen` matches.

    A "*" matches any characters, "/" included: "appearance/*" is a whole stream.

    Raises:
        InputError: A glob matches no parameter, or nothing is left to train.
    """
    matched = [matches(params, glob, "train.frozen") for glob in frozen]
    mask = jax.tree.map(lambda _, *found: not any(found), params, *matched)
    if not any(jax.tree.leaves(mask)):
        raise InputError(f"train.frozen: {list(frozen)} leave nothing to train.")
    return mask


def matches(params: Tree, glob: str, field: str) -> Tree:
    """True for every parameter whose path a glob matches.

    Args:
        params: The parameters.
        glob: The glob; its "*" matches any characters, "/" included.
        field: The name of the config's field that has the glob, for the message.

    Raises:
        InputError: The glob matches no parameter.
    """
    names = paths(params)
    if not fnmatch.filter(names, glob):
        parts = sorted({"/".join(name.split("/")[:2]) for name in names})
        raise InputError(
            f"{field}: {glob!r} matches no parameter. Parameters are below "
            f"{', '.join(parts)}."
        )
    return map_paths(lambda path: fnmatch.fnmatchcase(path, glob), params)


def split(params: Tree, mask: Tree) -> tuple[Tree, Tree]:
    """The parameters where the mask is True, and the others; see the module."""
    gap = optax.MaskedNode()
    yes = jax.tree.map(lambda leaf, keep: leaf if keep else gap, params, mask)
    no = jax.tree.map(lambda leaf, keep: gap if keep else leaf, params, mask)
    return yes, no


def join(trained: Tree, frozen: Tree) -> Tree:
    """The inverse of `split`."""

    def is_gap(node):
        return isinstance(node, optax.MaskedNode)

    return jax.tree.map(
        lambda a, b: b if is_gap(a) else a, trained, frozen, is_leaf=is_gap
    )
