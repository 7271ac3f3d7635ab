"""Data parallelism: devices and hosts.

The state is replicated and the batch is split along its first axis. Inside of a step,
`total` adds up over all devices. Two ways run the same step: `pmap`, and
`jit(shard_map)`, which also works across processes, where `pmap` with an unstacked,
donated state does not (jax 0.10.2).
"""

import contextlib
import hashlib
import itertools
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from movseg_jax.errors import InputError

How = Literal["auto", "pmap", "shard_map"]
GRACE = 5.0
PATIENCE = 7200  # Seconds; an evaluation or a slow disk may take long.
_AXIS = "device"
_waits = itertools.count()  # Each needs a name of its own.
_EVERYWHERE, _SPLIT = PartitionSpec(), PartitionSpec(_AXIS)


def data_parallel(step: Callable, how: How = "auto") -> Callable:
    """Turns `step(state, batch, key) -> (state, metrics)` into its parallel version.

    The result takes this host's share of the batch, as NumPy arrays whose first axis
    is a multiple of its devices, and donates the state. What `step` returns must be
    equal on all devices: whatever depends on the batch has to go through `total`.
    Neither way checks this: both return one device's value and would let the others
    drift apart.

    Args:
        step: Of one device.
        how: "auto" is `pmap` within one process and `shard_map` among several.
    """
    many = jax.process_count() > 1
    if how == "pmap" and many:
        raise InputError(
            "train.parallel: pmap works within one process; use 'shard_map' or 'auto' "
            f"for {jax.process_count()}."
        )
    if how == "shard_map" or many:
        return _by_shard_map(step)
    return _by_pmap(step)


def _by_pmap(step):
    mapped = jax.pmap(
        step, axis_name=_AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0
    )

    def run(state, batch, key):
        devices = jax.local_device_count()
        check_divides(jax.tree.leaves(batch)[0].shape[0], devices)
        stacked = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
        return mapped(state, stacked, key)

    return run


def _by_shard_map(step):
    mesh = _mesh()
    mapped = jax.jit(
        jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(_EVERYWHERE, _SPLIT, _EVERYWHERE),
            out_specs=_EVERYWHERE,
            # Else gradients of the replicated state would come out summed, and `total`
            # would sum them again.
            check_vma=False,
        ),
        donate_argnums=0,
    )
    compiled = {}  # By the shapes of the batch.

    def run(state, batch, key):
        check_divides(jax.tree.leaves(batch)[0].shape[0], jax.local_device_count())
        sharding = NamedSharding(mesh, _SPLIT)
        batch = jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, x), batch
        )
        shapes = tuple(x.shape for x in jax.tree.leaves(batch))
        if shapes not in compiled:
            compiled[shapes] = mapped.lower(state, batch, key).compile()
            # One that got its program from a cache is here long before the others, and
            # a step on CPUs gives up on them after half a minute.
            barrier("compiled")
        return compiled[shapes](state, batch, key)

    return run


def _mesh():
    return Mesh(np.array(jax.devices()), (_AXIS,))


def check_divides(batch_size: int, devices: int) -> None:
    """Refuses a host's share of a batch that its devices cannot share evenly."""
    if batch_size % devices:
        raise InputError(
            f"A batch of {batch_size} cannot be split over {devices} devices: set "
            f"the batch size to a multiple of {devices} for every host."
        )


def replicate(tree: Any) -> Any:
    """The tree on every device of every host, which all hold the same values."""
    sharding = NamedSharding(_mesh(), _EVERYWHERE)
    return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)


def replicated_shapes(shapes: Any) -> Any:
    """Shapes and dtypes as `jax.eval_shape` gives them, placed as by `replicate`."""
    sharding = NamedSharding(_mesh(), _EVERYWHERE)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
    )


def total(tree: Any) -> Any:
    """Sum of every leaf over all devices. Never differentiate through this."""
    return jax.lax.psum(tree, _AXIS)


def device_index() -> jax.Array:
    """The number of the device that runs the step."""
    return jax.lax.axis_index(_AXIS)


def start_hosts(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Connects the processes of a run on several hosts; does nothing on one.

    Without a coordinator, SLURM jobs of several tasks and TPU pods are detected.

    Args:
        coordinator: "host:port" of process 0.
        count: Number of processes.
        index: Of this process, from 0.

    Raises:
        InputError: Only some of the three are given, or no connection was made.
    """
    given = [value is not None for value in (coordinator, count, index)]
    if any(given) and not all(given):
        raise InputError(
            "Give all of --coordinator, --processes and --process, or none of them "
            "(SLURM and TPU pods are detected)."
        )
    slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1
    tpu_pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    if not (any(given) or slurm or tpu_pod):
        return
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"The processes of the run found no other: {error}.") from None


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends this process, if it is one of several, when an error leaves the block.

    It prints the error and exits with status 2 if that is an `InputError`, else 1,
    without waiting for the other processes, as Python's own way out would: they may
    wait for this one in the middle of a step. They end when they find it gone. The
    first, with which all are connected, leaves them `GRACE` seconds to find and print
    the same `InputError`, as they often do.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        known = isinstance(error, InputError)
        text = f"movseg: {error}" if known else traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        sys.stdout.flush()
        if known and jax.process_index() == 0:
            time.sleep(GRACE)
        os._exit(2 if known else 1)


def barrier(name: str) -> None:
    """Waits until every process is here, without using the devices."""
    everyone = set(range(jax.process_count()))
    if len(everyone) > 1:
        ocp.multihost.sync_global_processes(
            f"{name} {next(_waits)}", timeout=PATIENCE, processes=everyone
        )


def check_same(what: str, content: str) -> None:
    """Refuses, in all processes, what is not the same in all of them.

    Raises:
        InputError: It differs.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    own = np.frombuffer(hashlib.sha256(content.encode()).digest(), np.uint8)
    of_all = multihost_utils.process_allgather(own)
    if (of_all != of_all[0]).any():
        raise InputError(
            f"The processes of the run have not the same {what}: start all with the "
            "same command, version and files, and each with its own --process."
        )


def agree(flag: bool) -> bool:
    """Whether the flag is set in any process, the same answer in all of them."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(jnp.array(flag)).any())


def from_first(number: int | None) -> int | None:
    """What process 0 says, from 0 to 2**31 - 1 or None, in all of them."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    sent = np.int32(-1 if number is None else number)
    received = int(multihost_utils.broadcast_one_to_all(sent))
    return None if received < 0 else received
