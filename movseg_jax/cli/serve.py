"""The command `movseg serve`."""

import dataclasses
import functools
import importlib.util
from pathlib import Path
from typing import Annotated

from movseg_jax.cli.arguments import load_model, optional
from movseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Serve:
    """Serve a web page that segments clips, for people without a command line.

    A visitor uploads a clip, looks at its tracks, switches some of them off, and
    downloads the results. Clips wait for one another. The page is served to this
    machine only, unless --host says otherwise; it has no password. It needs the extra
    "demo": pip install ".[demo]".

    Attributes:
        port: Port to listen on.
        host: Address to listen on. "0.0.0.0" serves the page to the whole network.
        max_seconds: Length of the part of a clip that is segmented, in seconds.
        max_mb: Largest size of a file, in megabytes.
        keep_minutes: Minutes after which a clip that nobody uses is deleted.
        weights: A .safetensors file, or the folder of a training run.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
    """

    port: int = 7860
    host: str = "127.0.0.1"
    max_seconds: float = 30.0
    max_mb: float = 100.0
    keep_minutes: float = 60.0
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None

    def run(self) -> str:
        """Serves the page until a signal comes.

        Raises:
            InputError: gradio is not installed, or an option is out of range.
        """
        from movseg_jax.system.process import how_to_install, share_processor

        if importlib.util.find_spec("gradio") is None:
            raise InputError(
                "`movseg serve` needs gradio, which the extra `demo` installs; "
                f"{how_to_install('demo')}."
            )
        from movseg_jax.cli.messages import in_options
        from movseg_jax.cli.segment import Segment
        from movseg_jax.serve.server import serve
        from movseg_jax.serve.visits import Limits

        limits = Limits(self.max_seconds, self.max_mb, self.keep_minutes)
        share_processor()
        serve(
            load_model(self.weights, fusion=self.fusion),
            limits,
            host=self.host,
            port=self.port,
            explain=functools.partial(in_options, kinds=(Segment,)),
        )
        return ""
