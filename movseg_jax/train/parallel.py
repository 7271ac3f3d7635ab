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
from movseg_jax.system.devices import start_devices

How = Literal["auto", "pmap", "shard_map"]
GRACE = 5.0
AGREE_EVERY = 5  # Steps: see `agree`.
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
        step: The function of one device.
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
        devices = jax.local_devices()
        check_divides(jax.tree.leaves(batch)[0].shape[0], len(devices))
        split = NamedSharding(Mesh(np.array(devices), (_AXIS,)), _SPLIT)

        def put(x):
            return jax.device_put(x.reshape(len(devices), -1, *x.shape[1:]), split)

        return mapped(state, jax.tree.map(put, batch), key)

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


def describe_devices(batch_size: int) -> str:
    """Says how the processes and devices of a run share a batch.

    Args:
        batch_size: The number of examples of the complete batch.
    """
    count = jax.device_count()
    return (
        f"processes: {jax.process_count()}, devices: {count} "
        f"({jax.devices()[0].device_kind}), batch: {batch_size}, on each device: "
        f"{batch_size / count:g}"
    )


def replicate(tree: Any) -> Any:
    """The tree on every device of every host, which all hold the same values."""
    sharding = NamedSharding(_mesh(), _EVERYWHERE)

    def put(x):
        if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.device_put(x, sharding)
        # A key itself cannot be put on the devices of other processes.
        data = jax.device_put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))

    return jax.tree.map(put, tree)


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
    """Connects the processes of a run on several hosts, and starts their devices.

    Without a coordinator, jobs of several tasks of SLURM and Open MPI and TPU pods are
    detected, as JAX does. A TPU host without such settings runs alone.

    Args:
        coordinator: The "host:port" of process 0; None is JAX_COORDINATOR_ADDRESS.
        count: The number of processes.
        index: The number of this process, from 0.

    Raises:
        InputError: Only some of the three are given, no connection was made, there are
            devices of other processes that this one is not connected with, or there is
            no device.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    one, both = (count is None) != (index is None), count is not None
    if one or (both and coordinator is None):
        raise InputError(
            "Give all of `coordinator`, `processes` and `process`, or none of them "
            "(SLURM, Open MPI and TPU pods are detected)."
        )
    if coordinator is not None or _runs_several():
        _connect(coordinator, count, index)
    elif _is_tpu_host():
        try:
            _connect(None, None, None)
        except InputError as error:
            # What was found is more than this host, and could not be reached.
            if jax.distributed.is_initialized():
                raise
            print(
                f"movseg: this TPU host runs alone: {error}",
                file=sys.stderr,
                flush=True,
            )
    start_devices()
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise InputError(
            f"The devices are those of {jax.process_count()} processes, but this one "
            "is connected with no other: give `coordinator`, `processes` and `process`."
        )


def _runs_several() -> bool:
    """Whether this process was started as one of several."""
    counts = ["OMPI_COMM_WORLD_SIZE"]
    # A batch script has the number of tasks, too, but only what `srun` starts is one of
    # them and has a step.
    if "SLURM_STEP_NODELIST" in os.environ:
        counts.append("SLURM_NTASKS")
    tasks = max(int(os.environ.get(name, "1")) for name in counts)
    # GKE's variables; on Google's TPU VMs there is a server that knows.
    names = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
    return tasks > 1 or any("," in os.environ.get(name, "") for name in names)


def _is_tpu_host() -> bool:
    """Whether JAX computes on a TPU of this host: then it has set a variable."""
    platforms = getattr(jax.config, "jax_platforms", None) or ""
    return "TPU_ML_PLATFORM" in os.environ and platforms.split(",")[0] == "tpu"


def _connect(coordinator, count, index) -> None:
    try:
        jax.distributed.initialize(coordinator, count, index)
    except Exception as error:  # Among others, those of reading the hosts' names.
        reason = str(error).rstrip(".") or repr(error)
        raise InputError(
            f"The processes of the run found no other: {reason}. Give each "
            "`coordinator`, `processes` and its `process`."
        ) from error


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
    """Whether the flag is set in any process, the same answer in all of them.

    With several, this waits for the devices; so not every step should ask.
    """
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(jnp.array(flag)).any())


def from_first(number: int | None) -> int | None:
    """Returns process 0's number, from 0 to 2**31 - 1, or None, in all processes."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    sent = np.int32(-1 if number is None else number)
    received = int(multihost_utils.broadcast_one_to_all(sent))
    return None if received < 0 else received
