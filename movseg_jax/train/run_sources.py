"""The data sets of a training config: opening and checking them."""

from pathlib import Path
from typing import Any

from movseg_jax.config import Config, SourceConfig
from movseg_jax.data.example import Source
from movseg_jax.data.prepared import has_prepared
from movseg_jax.data.sampling import check_examples, choose_buckets, get_buckets
from movseg_jax.data.selection import with_flow, without_last
from movseg_jax.data.sources import open_source
from movseg_jax.errors import InputError


def open_sources(
    config: Config, data_dir: str | Path
) -> tuple[list[Source], Source | None]:
    """Opens the sources of a config, without frames that the model cannot train on.

    A data set that `prepare` wrote to `data_dir` is read from there; else it is read
    from a folder of its name below `data_dir`, or from `data_dir` itself.

    Raises:
        InputError: One cannot be opened, or none of its examples can be used.
    """
    data_dir = Path(data_dir)
    needs_flow = config.model.motion is not None
    wanted = config.data.validation if config.train.evaluate_every else None
    sources = [_open(source, data_dir, needs_flow) for source in config.data.sources]
    return sources, None if wanted is None else _open(wanted, data_dir, needs_flow)


def _open(wanted: SourceConfig, data_dir: Path, needs_flow: bool) -> Source:
    root = data_dir
    if not has_prepared(wanted.name, wanted.split, data_dir):
        below = data_dir / wanted.name
        root = below if below.is_dir() else data_dir
    options: dict[str, Any] = dict(wanted.options)
    source = open_source(wanted.name, wanted.split, root, **options)
    count = len(source)
    if wanted.skip_last:
        source = without_last(source)
        if count and not len(source):
            raise InputError(
                f"{source.name}: all {count} examples are the last of their video, "
                "which skip_last leaves out."
            )
    if needs_flow:
        count = len(source)
        source = with_flow(source)
        if count and not len(source):
            raise InputError(
                f"{source.name}: none of the {count} examples has flow, which the "
                "model sees. Prepare the data set with it: `movseg data prepare ... "
                "--flow dis`."
            )
    return source


def check_validation(config: Config, validation: Source | None) -> None:
    """Finds problems of the source to evaluate on before the first step.

    Raises:
        InputError: There is none although the run is to evaluate; or it has no
            examples, frames that fit into no bucket, or classes that the model lacks.
    """
    if not config.train.evaluate_every:
        return
    if validation is None:
        raise InputError(
            f"train.evaluate_every is {config.train.evaluate_every}, but "
            "data.validation names no data set to evaluate on."
        )
    model = config.model
    # Frames without flow are left out.
    usable = validation if model.motion is None else with_flow(validation)
    check_examples(usable, model)
    choose_buckets(validation, get_buckets(config.data, model), model)
