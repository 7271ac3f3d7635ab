"""Every test runs on four simulated devices, with JAX's strictest settings."""

from collections import Counter

import hypothesis
import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(params=["jit", pytest.param("eager", marks=pytest.mark.slow)])
def compiled(request):
    """Runs the test under `jax.jit` and, with the slow tests, without."""
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
    jax.clear_caches()  # Compiled programs would fill gigabytes by the end of a run.


@pytest.fixture(scope="module")
def compilation_cache(tmp_path_factory, quick_compilation):
    """Keeps programs, for modules whose runs and processes compile the same ones."""
    folder = str(tmp_path_factory.mktemp("xla"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    with pytest.MonkeyPatch.context() as patch:  # For processes that tests start.
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
        yield
    jax.config.update("jax_compilation_cache_dir", None)


hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


def pytest_terminal_summary(terminalreporter):
    """Says in one line which tests were skipped and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in skipped
    )
    if reasons:
        why = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"{len(skipped)} tests were skipped: {why}")
