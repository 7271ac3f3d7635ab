"""Which processes are connected, with Google's metadata and JAX's client mocked."""

import jax
import pytest

from movseg_jax.errors import InputError
from movseg_jax.train import parallel

VARIABLES = (
    "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "TPU_PROCESS_ADDRESSES",
    "TPU_WORKER_HOSTNAMES", "JAX_COORDINATOR_ADDRESS", "TPU_ML_PLATFORM",
)  # fmt: skip


class Cluster:
    """What `jax.distributed` sees: how many processes, and whether it connects."""

    def __init__(self):
        self.calls, self.client = [], False
        self.count, self.error, self.reached = 1, None, False

    def initialize(self, *arguments):
        self.calls.append(arguments)
        self.client = self.error is None or self.reached
        if self.error is not None:
            raise self.error


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", made.initialize)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: made.client)
    monkeypatch.setattr(jax, "process_count", lambda: made.count)
    return made


@pytest.fixture
def tpu(cluster, monkeypatch):
    """A host with a TPU, as JAX leaves it when it is imported."""
    monkeypatch.setenv("TPU_ML_PLATFORM", "JAX")
    monkeypatch.setattr(parallel, "start_devices", lambda: None)
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "tpu,cpu")
    yield cluster
    jax.config.update("jax_platforms", before)


def test_one_process_connects_with_nobody(cluster):
    parallel.start_hosts(None, None, None)
    assert cluster.calls == []


@pytest.mark.parametrize(
    "name, value",
    [
        ("SLURM_NTASKS", "2"),
        ("OMPI_COMM_WORLD_SIZE", "4"),
        ("TPU_PROCESS_ADDRESSES", "a:8471,b:8471"),
        ("TPU_WORKER_HOSTNAMES", "a,b"),
        ("JAX_COORDINATOR_ADDRESS", "a:1234"),
    ],
)
def test_several_processes_are_detected(cluster, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node1")
    parallel.start_hosts(None, None, None)
    coordinator = value if name == "JAX_COORDINATOR_ADDRESS" else None
    assert cluster.calls == [(coordinator, None, None)]


@pytest.mark.parametrize("value", ["1", "a", ""])
def test_one_task_is_none_of_several(cluster, monkeypatch, value):
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", value)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    parallel.start_hosts(None, None, None)
    assert cluster.calls == []


def test_a_process_that_srun_did_not_start_runs_alone(cluster, monkeypatch):
    """As in a batch script of an allocation of several tasks."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    parallel.start_hosts(None, None, None)
    assert cluster.calls == []


def test_what_is_given_is_used(cluster, monkeypatch):
    parallel.start_hosts("a:1", 2, 0)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "b:2")
    parallel.start_hosts(None, 2, 1)
    assert cluster.calls == [("a:1", 2, 0), ("b:2", 2, 1)]


@pytest.mark.parametrize("given", [("a:1", 2, None), (None, 2, 1), (None, None, 1)])
def test_only_some_are_refused(cluster, given):
    with pytest.raises(InputError, match="Give all of"):
        parallel.start_hosts(*given)


def test_a_tpu_pod_is_connected(tpu):
    tpu.count = 2
    parallel.start_hosts(None, None, None)
    assert tpu.calls == [(None, None, None)]


def test_a_tpu_host_that_knows_of_no_other_goes_on_alone(tpu, capsys):
    tpu.error = OSError("metadata.google.internal: name not known")
    parallel.start_hosts(None, None, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("movseg: this TPU host runs alone: ")
    assert "name not known" in line


def test_a_pod_that_could_not_be_reached_is_refused(tpu):
    tpu.error, tpu.reached = RuntimeError("DEADLINE_EXCEEDED"), True
    with pytest.raises(InputError, match="DEADLINE_EXCEEDED"):
        parallel.start_hosts(None, None, None)


def test_devices_of_several_processes_need_a_client(tpu):
    tpu.error, tpu.count = OSError("no metadata"), 2
    with pytest.raises(InputError, match="those of 2 processes, but this one is conn"):
        parallel.start_hosts(None, None, None)


def test_a_tpu_that_is_not_used_is_not_asked(tpu):
    jax.config.update("jax_platforms", "cpu")
    parallel.start_hosts(None, None, None)
    assert tpu.calls == []


def test_google_s_metadata_lead_jax_to_a_pod(monkeypatch):
    """What `initialize` is called with nothing for: JAX reads the server itself."""
    from jax._src import clusters
    from jax._src.clusters import cloud_tpu_cluster

    metadata = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "x:0:10.0.0.1,y:1:10.0.0.2",
        "tpu-env": "",
    }
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(
        cloud_tpu_cluster, "get_metadata", lambda key: (metadata[key], 200)
    )
    monkeypatch.setattr(
        cloud_tpu_cluster.BaseTpuCluster, "wait_for_coordinator", lambda *_: None
    )
    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, 10
    )
    address, *counts = found[:3]
    assert address.split(":")[0] == "10.0.0.1"  # The port depends on JAX's version.
    assert counts == [2, 1]
