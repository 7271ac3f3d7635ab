"""Workers that are actors of a Ray cluster, with devices or cores of their own.

Ray places the processes on the cluster's machines and notices when one has died. As
with workers of this machine, the caller then starts another one. Ray is imported when
it is asked for.
"""

import contextlib
import functools
import logging
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from typing import Any, NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.system.process import how_to_install
from movseg_jax.system.stopping import request_stop
from movseg_jax.system.workers import Result, Worker, count_workers, take_free_cores

LOCAL = "local"  # The address of a cluster that `ray.init` starts on this machine.
OBJECT_STORE = 2**27  # Bytes of shared memory there; nothing large is handed over.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Nothing is reported to anybody.
    # Ray prints nothing about workers that have died; the driver says it in its words.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
}


class RayCluster(NamedTuple):
    """A cluster, and the part of it that each worker gets.

    Attributes:
        kind: The devices that are shared: "GPU", "TPU" or "CPU", which is its cores.
        devices: The number of devices of each worker.
    """

    kind: str
    devices: int

    def room(self) -> int:
        """Returns the number of workers that fit on the machines that are there now."""
        machines = [node for node in _ray().nodes() if node["Alive"]]
        counts = [node["Resources"].get(self.kind, 0) for node in machines]
        return sum(int(count // self.devices) for count in counts)

    def start(self, begin: Callable[..., object], *arguments: object) -> "RayWorker":
        """Returns a worker, which calls `begin` with the arguments first.

        Its process starts when the cluster has room for it.
        """
        resources: dict[str, Any] = {
            "CPU": {"num_cpus": self.devices},
            "GPU": {"num_gpus": self.devices},
        }.get(self.kind, {"resources": {self.kind: self.devices}})
        # A call that asks to stop must not wait for the one that runs.
        actor = _ray().remote(max_concurrency=2, **resources)(_Actor)
        first = functools.partial(begin, *arguments)
        return RayWorker(actor.remote(self, platform.node(), first))


class RayWorker(Worker):
    """An actor of a Ray cluster, from `RayCluster.start`."""

    def __init__(self, actor: Any):
        self._actor, self._broken = actor, False

    @property
    def broken(self) -> bool:
        """Whether its process is known to have died."""
        return self._broken

    def submit(self, function: Callable[..., Result], *arguments: object) -> Future:
        """Begins a task; its future raises `BrokenExecutor` if the process dies."""
        future = Future()
        answer = self._actor.run.remote(function, arguments).future()
        answer.add_done_callback(functools.partial(self._pass_on, future))
        return future

    def _pass_on(self, future: Future, answer: Future) -> None:
        exceptions = _ray().exceptions
        try:
            result = answer.result()
        except exceptions.RayTaskError as error:  # The function raised it.
            future.set_exception(error)
        except exceptions.RayError as error:
            self._broken = True
            reason = str(error).strip().splitlines()[-1].rstrip(".")
            future.set_exception(BrokenExecutor(reason))
        else:
            if isinstance(result, InputError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def ask_to_stop(self) -> None:
        """Asks the task that runs to stop."""
        self._actor.ask_to_stop.remote()

    def end(self) -> None:
        """Ends the process at once, whatever it is doing."""
        _ray().kill(self._actor)


class _Actor:
    """The methods that Ray calls in the worker's process, each in a thread."""

    def __init__(self, share: RayCluster, home: str, begin: Callable[[], object]):
        self._share, self._home = share, home
        self._begin: Callable[[], object] | None = begin

    def run(self, function: Callable, arguments: tuple) -> object:
        """Runs a task; an `InputError` is returned, as Ray would wrap it."""
        try:
            if self._begin is not None:
                take_free_cores(self._count_cores())  # Ray does not pin any.
                self._begin()
                self._begin = None
            return function(*arguments)
        except InputError as error:
            if platform.node() == self._home:
                return error
            text = f"On {platform.node()}: {error.message}"
            return InputError(text, way_out=error.way_out)

    def _count_cores(self) -> int:
        """The number of cores that go with the devices; 0 if the machine names none."""
        here = _ray().get_runtime_context().get_node_id()
        [node] = [node for node in _ray().nodes() if node["NodeID"] == here]
        kind, devices = self._share
        resources = node["Resources"]
        return int(resources.get("CPU", 0) * devices / resources[kind])

    def ask_to_stop(self) -> None:
        """Asks the task that runs to stop."""
        request_stop()


@contextlib.contextmanager
def ray_cluster(address: str | None, devices: int) -> Iterator[RayCluster]:
    """Connects to a cluster for a block.

    Args:
        address: The cluster's address, HOST:PORT, or "auto" for the cluster of this
            machine; "local" starts one here, which ends with the block. None is
            "auto" if there is such a cluster, otherwise "local".
        devices: The number of devices of each worker: GPUs, TPU chips if the cluster
            has no GPUs, or cores if it has neither, or if JAX_PLATFORMS is "cpu".

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """
    if devices < 1:
        raise InputError(f"`devices_per_job` is {devices}, expected 1 or more.")
    os.environ.update(SETTINGS)
    ray, ours = _ray(), False
    if not ray.is_initialized():
        with _kept_sigterm():
            _connect(ray, address or os.environ.get("RAY_ADDRESS"))
        ours = True
    try:
        total = ray.cluster_resources()
        on_cpu = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
        kinds = [kind for kind in ("GPU", "TPU") if total.get(kind) and not on_cpu]
        yield RayCluster([*kinds, "CPU"][0], devices)
    finally:
        if ours:
            ray.shutdown()


def _ray() -> Any:
    """Returns the package `ray`, which is not imported before it is asked for."""
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError(
            "Ray is not installed; install movseg-jax with the extra `ray`, "
            f"{how_to_install('ray')}."
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    if address is not None and "://" in address:
        raise InputError(
            f"`address` is {address!r}, expected HOST:PORT. Ray's client is not "
            "supported; run the command on a machine of the cluster."
        )
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if address != LOCAL:
            try:
                ray.init(address or "auto", **quiet)
                return
            except ConnectionError:
                if address is not None:
                    raise
        ray.init(
            LOCAL,
            num_cpus=count_workers(0),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            **quiet,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"There is no Ray cluster at `address={address or LOCAL}`: {reason} "
            "Expected HOST:PORT of a cluster that this machine is part of."
        ) from error


@contextlib.contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Keeps the handler of SIGTERM, in whose place `ray.init` puts `sys.exit`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # The signal came.
        signal.signal(signal.SIGTERM, before)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
