"""Every test runs on four simulated devices, with JAX's strictest settings."""

import hypothesis
import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(params=["eager", "jit"])
def compiled(request):
    """Runs the test twice: with the function as it is, and under `jax.jit`."""
    return jax.jit if request.param == "jit" else lambda function: function


@pytest.fixture(scope="module")
def quick_compilation():
    """Halves the time to compile, for modules that compile much and compute little.

    What users run, with XLA's optimisations, is in test_detector_golden.py, in the
    tests of `ops` and in those of layers.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")
