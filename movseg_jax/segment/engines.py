"""Engines start the workers of a batch: on this machine, or on a Ray cluster."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.segment import batch_worker
from movseg_jax.segment.batch_worker import BatchJob
from movseg_jax.system.ray_workers import RayCluster, ray_cluster
from movseg_jax.system.workers import ProcessWorker, Worker, count_workers


class Engine(NamedTuple):
    """Something that runs workers.

    Attributes:
        jobs: The largest number of workers at a time.
        start: A function that starts a worker, called with the batch, the number of the
            worker, from 0, and how many there are.
    """

    jobs: int
    start: Callable[[BatchJob, int, int], Worker]


def processes(jobs: int | None = None) -> Engine:
    """Returns the engine that starts processes on this machine, which share its cores.

    Args:
        jobs: The number of processes; 0 is one for each core, None is 1.

    Raises:
        InputError: The number is too large or negative.
    """
    return Engine(count_workers(1 if jobs is None else jobs), _start_process)


def _start_process(batch: BatchJob, number: int, count: int) -> Worker:
    return ProcessWorker(batch_worker.begin, batch, number, count)


@contextlib.contextmanager
def on_ray(
    jobs: int | None = None, *, address: str | None = None, devices: int = 1
) -> Iterator[Engine]:
    """Gives the engine that starts actors on a Ray cluster.

    Args:
        jobs: The number of actors; they wait until the cluster has room for them. 0 and
            None are as many as it has room for now.
        address: The cluster, see `ray_cluster`.
        devices: The number of devices of each actor, see `ray_cluster`.

    Raises:
        InputError: Ray is not installed, there is no such cluster, or it has no machine
            with so many devices.
    """
    with ray_cluster(address, devices) as cluster:
        room = cluster.room()
        if not room:
            raise InputError(
                f"No machine of the Ray cluster has {devices} {cluster.kind}s, as "
                f"`devices_per_job={devices}` asks for."
            )
        yield Engine(jobs or room, functools.partial(_start_actor, cluster))


def _start_actor(
    cluster: RayCluster, batch: BatchJob, number: int, count: int
) -> Worker:
    del number, count  # The cluster says where the worker runs.
    alone = "cpu" if cluster.kind == "CPU" else None  # Others may use the devices.
    platforms = os.environ.get("JAX_PLATFORMS") or alone
    return cluster.start(batch_worker.begin_anywhere, batch, os.getcwd(), platforms)
