"""The devices that JAX computes on."""

import jax

from movseg_jax.errors import InputError


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
