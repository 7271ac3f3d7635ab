"""The devices that JAX computes on."""

import functools
from pathlib import Path

import jax

from movseg_jax.errors import InputError

CPU_INFO = Path("/proc/cpuinfo")


def start_devices() -> None:
    """Starts JAX's devices now, so that an error is reported early and clearly.

    Raises:
        InputError: There are no devices of the kind asked for, or they do not start.
    """
    try:
        jax.devices()
    except Exception as error:  # JAX raises many kinds, even AssertionError.
        asked = getattr(jax.config, "jax_platforms", None)  # By JAX_PLATFORMS, usually.
        what = f"of JAX_PLATFORMS={asked}" if asked else "that it finds"
        lines = str(error).splitlines()
        reason = f": {lines[0].rstrip('.')}" if lines else ""
        raise InputError(
            f"JAX cannot start the devices {what}{reason}. Set JAX_PLATFORMS=cpu to "
            "compute without them. For an NVIDIA GPU this package has to be installed "
            "with the extra `cuda12` or `cuda13`, for a TPU with `tpu`. `movseg "
            "doctor` says more."
        ) from error


@functools.cache
def multiplies_bfloat16(info: Path = CPU_INFO) -> bool:
    """Whether this machine's CPU has instructions that multiply bfloat16 numbers.

    Only Linux on x86 says so, and elsewhere it is not known how fast they would be.
    """
    try:
        text = info.read_text(errors="replace")
    except OSError:
        return False
    lines = [line for line in text.splitlines() if line.startswith("flags")]
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(" ".join(lines).split())
