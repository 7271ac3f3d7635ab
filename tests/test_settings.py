"""Any field of a config can be set on the command line."""

import dataclasses
import typing

import pytest

from movseg_jax.cli.arguments import read_config
from movseg_jax.config import Config, SourceConfig, TrunkConfig
from movseg_jax.errors import InputError

FILE = """
from movseg_jax.config import Config, DataConfig, ModelConfig, SourceConfig

def get_config():
    data = DataConfig(sources=(SourceConfig("coco"),))
    return Config(model=ModelConfig(motion=None), data=data)
"""


@pytest.fixture
def read(tmp_path):
    (tmp_path / "config.py").write_text(FILE)
    return lambda *settings: read_config(tmp_path / "config.py", settings)


def fields(kind, prefix="--"):
    """The options of all fields, also of parts that may be missing."""
    for name, hint in typing.get_type_hints(kind).items():
        option = prefix + name.replace("_", "-")
        parts = [
            *filter(dataclasses.is_dataclass, (hint, *typing.get_args(hint))),
        ]
        index = ".0" if typing.get_origin(hint) is tuple else ""
        for part in parts:
            yield from fields(part, f"{option}{index}.")
        if not parts:
            yield option, hint


def a_value(hint):
    """Something that the type accepts, as words of the command line."""
    if typing.get_origin(hint) is typing.Literal:
        return [typing.get_args(hint)[0]]
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        return [] if ... in kinds else [word for k in kinds for word in a_value(k)]
    return {str: ["continuous"], int: ["4"], float: ["0.25"]}[hint]


@pytest.mark.parametrize(
    "option, hint", [pytest.param(*field, id=field[0]) for field in fields(Config)]
)
def test_every_field_can_be_set(read, option, hint):
    if hint is bool:
        arguments = [option]
    else:
        arguments = [option, *a_value(hint)]
    needed = ["--data.validation.name", "davis2016"] * ("validation" in option)
    needed *= not option.endswith(".name")
    needed += ["--train.targets.anchor-negative-iou=0"] * ("anchor-pos" in option)
    config = read(*arguments, *needed)
    for name in option.removeprefix("--").replace("-", "_").split("."):
        config = config[int(name)] if name.isdecimal() else getattr(config, name)
    words = config if isinstance(config, tuple) else (config,)
    assert [str(word) for word in words] == (
        [*a_value(hint)] if hint is not bool else ["True"]
    )


def test_a_part_that_is_missing_gets_its_defaults(read):
    assert read("--model.motion.depth", "26").model.motion == TrunkConfig(depth=26)
    validation = read("--data.validation.name=davis2016").data.validation
    assert validation == SourceConfig("davis2016")
    assert read().data.validation is None


def test_a_part_can_be_added_to_a_row_and_taken_away(read):
    sources = read("--data.sources.1.name", "fbms", "--data.sources.1.weight", "2")
    added = SourceConfig("fbms", weight=2.0)
    assert sources.data.sources == (SourceConfig("coco"), added)
    model = read("--model.appearance", "None", "--model.motion.width=8").model
    assert model.streams == ("motion",)


@pytest.mark.parametrize(
    "settings, message",
    [
        (["--data.validation.split", "val"], "--data.validation.name"),
        (["--data.sources.2.name", "fbms"], "Unrecognized options: --data.sources.2"),
        (["--data.validation", "davis2016"], "is 'davis2016', expected None"),
        (["--model.appearance", "None"], "needs `appearance`, `motion` or both"),
        (["--model.motion.depht", "14"], "Unrecognized options: --model.motion.depht"),
        (["--model.motion.depth", "0"], "TrunkConfig.depth is 0, expected at least 1"),
    ],
)
def test_what_cannot_be_set_is_said(read, settings, message):
    with pytest.raises(InputError, match=message):
        read(*settings)
