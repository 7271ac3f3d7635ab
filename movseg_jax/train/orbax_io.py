"""Writes and reads trees of arrays, by Orbax.

They are stored as nested dicts of names, without the types of their containers and
without devices: "params/rpn/kernel" is `state.params["rpn"]["kernel"]`. So any
number of devices, a program without the model, and plain Orbax can read them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from orbax.checkpoint import v1 as ocp

from movseg_jax.errors import InputError

Tree = Any
_SHOWN = 5  # Differences in a message.


def flat(tree: Tree) -> dict[str, Any]:
    """Returns the leaves by path, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """Returns nested dicts of leaves that are given by path."""
    return traverse_util.unflatten_dict(leaves, sep="/")


def to_host(tree: Tree) -> dict[str, np.ndarray]:
    """Copies the leaves, by path, so that the originals can be donated.

    Raises:
        InputError: A leaf is not equal on all devices, or is empty.
    """
    leaves = flat(tree)
    for path, leaf in leaves.items():
        if isinstance(leaf, jax.Array):
            if not leaf.is_fully_replicated:
                raise InputError(f"{path}: is not equal on all devices.")
            leaves[path] = leaf.addressable_data(0)
            leaves[path].copy_to_host_async()  # Start all before waiting for one.
    copies = {path: np.array(leaf) for path, leaf in leaves.items()}
    for path, copy in copies.items():
        if copy.size == 0:
            raise InputError(f"{path}: is an empty array, which Orbax cannot store.")
    return copies


def save(folder: Path, arrays: dict[str, np.ndarray]) -> Any:
    """Starts to write; `result()` of the returned object waits for the end.

    All processes of a run have to call it with the same folder; one of them writes.

    Raises:
        InputError: Orbax cannot write it.
    """
    try:
        return ocp.save_async(str(folder.absolute()), nested(arrays))
    except Exception as error:  # Orbax has no base class for its errors.
        raise InputError(f"{folder}: Orbax cannot write it: {error}") from error


def describe(folder: Path) -> dict[str, Any]:
    """Returns the shapes and dtypes that are stored, by path.

    Raises:
        InputError: Orbax cannot read it.
    """
    try:
        return flat(ocp.metadata(str(folder.absolute())).metadata)
    except Exception as error:  # As above.
        raise InputError(f"{folder}: Orbax cannot read it: {error}") from error


def load(folder: Path, stored: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays that `stored`, a part of `describe(folder)`, lists, by path.

    Raises:
        InputError: Orbax cannot read it.
    """
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    try:
        with context:
            return flat(ocp.load(str(folder.absolute()), nested(stored)))
    except Exception as error:  # As above.
        raise InputError(f"{folder}: Orbax cannot read it: {error}") from error


def check_same(source: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuses stored arrays with other names, shapes or dtypes than are wanted.

    Raises:
        InputError: Names the first differences.
    """

    def say(leaf):
        return "nothing" if leaf is None else f"{leaf.dtype} {tuple(leaf.shape)}"

    differences = []
    for name in dict.fromkeys([*wanted, *stored]):
        there, here = say(stored.get(name)), say(wanted.get(name))
        if there != here:
            differences.append(f"{name}: {there} in the checkpoint, {here} here")
    if differences:
        more = len(differences) - _SHOWN
        tail = f"; and {more} more" if more > 0 else ""
        raise InputError(
            f"{source}: is of another model or optimizer: "
            f"{'; '.join(differences[:_SHOWN])}{tail}."
        )


def place(arrays: Iterable[np.ndarray], like: list[Any]) -> list[Any]:
    """Puts each array on the devices of its counterpart in `like`."""

    def sharding(leaf):
        # JAX may move an array that was never put anywhere, and so may its copy.
        uncommitted = isinstance(leaf, jax.Array) and not leaf.committed
        return None if uncommitted else leaf.sharding

    placed: list[Any] = list(arrays)
    indices = [i for i, leaf in enumerate(like) if not isinstance(leaf, np.ndarray)]
    # One call for all arrays is faster than one for each.
    on_devices = jax.device_put(
        [placed[i] for i in indices], [sharding(like[i]) for i in indices]
    )
    for i, array in zip(indices, on_devices, strict=True):
        placed[i] = array
    return placed
