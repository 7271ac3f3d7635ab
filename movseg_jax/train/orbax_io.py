"""Trees of arrays on the disk, written and read by Orbax.

They are stored as nested dicts of names, without the types of their containers and
without devices: "params/rpn/kernel" is `state.params["rpn"]["kernel"]`. So they are
read by any number of devices, by a program without the model, and by plain Orbax.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from movseg_jax.errors import InputError

Tree = Any
_SHOWN = 5  # Differences that a message names.


def flat(tree: Tree) -> dict[str, Any]:
    """Leaves by path, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts of leaves that are given by path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *groups, name = path.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = leaf
    return tree


def to_host(tree: Tree) -> dict[str, np.ndarray]:
    """Copies of the leaves, which nobody else can reach, by path.

    Raises:
        InputError: A leaf is not equal on all devices, or is empty.
    """
    leaves = flat(tree)
    for path, leaf in leaves.items():
        if isinstance(leaf, jax.Array):
            if not leaf.is_fully_replicated:
                raise InputError(f"{path}: is not equal on all devices.")
            leaves[path] = leaf.addressable_data(0)
            leaves[path].copy_to_host_async()  # All start before one is waited for.
    copies = {path: np.array(leaf) for path, leaf in leaves.items()}
    for path, copy in copies.items():
        if copy.size == 0:
            raise InputError(f"{path}: is an empty array, which Orbax cannot store.")
    return copies


def save(folder: Path, arrays: dict[str, np.ndarray]) -> Any:
    """Starts to write; `result()` of what is returned waits for the end.

    All processes of a run have to call it, with the same folder; one of them writes.

    Raises:
        InputError: Orbax cannot write it.
    """
    try:
        return ocp.save_async(str(folder.absolute()), nested(arrays))
    except Exception as error:  # Orbax has no base class for its errors.
        raise InputError(f"{folder}: Orbax cannot write it: {error}") from error


def describe(folder: Path) -> dict[str, Any]:
    """What has been stored, by path; it has a shape and a dtype.

    Raises:
        InputError: Orbax cannot read it.
    """
    try:
        return flat(ocp.metadata(str(folder.absolute())).metadata)
    except Exception as error:  # As above.
        raise InputError(f"{folder}: Orbax cannot read it: {error}") from error


def load(folder: Path, stored: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by path, for the part of `describe(folder)` that is asked for.

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
    """Puts each array where its model is; one call for all of them, which is faster."""

    def sharding(leaf):
        # An array that was never put anywhere may move, and so may its copy.
        uncommitted = isinstance(leaf, jax.Array) and not leaf.committed
        return None if uncommitted else leaf.sharding

    placed: list[Any] = list(arrays)
    indices = [i for i, leaf in enumerate(like) if not isinstance(leaf, np.ndarray)]
    on_devices = jax.device_put(
        [placed[i] for i in indices], [sharding(like[i]) for i in indices]
    )
    for i, array in zip(indices, on_devices, strict=True):
        placed[i] = array
    return placed
