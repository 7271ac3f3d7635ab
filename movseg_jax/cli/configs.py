"""The command `movseg configs`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Configs:
    """List the training configs of the package, with what they cost and end at.

    `movseg train NAME --workdir RUN --data-dir DATA` runs one of them.
    """

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.config_files import describe_configs

        return describe_configs()
