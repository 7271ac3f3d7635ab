"""Reads config files: Python files with functions that return a `Config`."""

import collections
import contextlib
import dataclasses
import difflib
import inspect
import re
import runpy
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from movseg_jax.config import Config
from movseg_jax.errors import InputError

# The name that a config file has for itself while it runs.
_MODULE = "movseg_config"
# The sentences of a config's docstring that say what it costs and ends at.
_RESULT = re.compile(r"^(Cost: .+|Not run\..*)(\n(?!\n).+)*", re.M)

T = typing.TypeVar("T")


def with_fields(config: T, fields: dict[str, Any]) -> T:
    """Returns a config dataclass with other values in some fields, at any depth.

    Args:
        config: The config to start from, such as a `Config` or a part of one.
        fields: Values by the fields' names as on the command line, such as
            `{"train.steps": 100}`.

    Raises:
        InputError: There is no such field, it is in a part that is None, or it has a
            value that it cannot have.
    """
    changes: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    if not dataclasses.is_dataclass(config):
        raise InputError(f"{', '.join(fields)}: a field of {config!r}, which has none.")
    known = [field.name for field in dataclasses.fields(config)]
    for path, value in fields.items():
        name, _, rest = path.replace("-", "_").partition(".")
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise InputError(f"{type(config).__name__} has no field {name!r}{hint}")
        if rest:
            inner[name][rest] = value
        else:
            changes[name] = value
    for name, values in inner.items():
        changes[name] = with_fields(getattr(config, name), values)
    # All fields of a part change at once, since each state of it is checked.
    return dataclasses.replace(typing.cast(Any, config), **changes)


def load_config(path: str | Path) -> Config:
    """Runs a function of a config file. The file is code: run only your own.

    Args:
        path: A config file and a function in it, as in "configs/paper.py:joint_davis".
            The function's name may be left out if the file has only one, or one with
            the file's name, or `get_config`. A file that comes with the package needs
            neither folder nor suffix: "tiny", "paper:joint_davis".

    Raises:
        InputError: There is no such file or function, the name is missing, the file or
            the function cannot be run, or it does not return a `Config`.
    """
    file, colon, name = str(path).rpartition(":")
    if not colon or not name.isidentifier():
        file, name = str(path), ""
    if not Path(file).is_file():
        known = packaged_files()
        if file not in known:
            raise InputError(
                f"{file}: no such config file; those of the package are "
                f"{', '.join(known)}, see `movseg configs`."
            )
        file = str(known[file])
    functions = config_functions(file)
    if not functions:
        raise InputError(f"{file}: defines no function that returns a `Config`.")
    name = name or _default_name(file, list(functions))
    if name not in functions:
        raise InputError(
            f"{file}: has no config {name!r}; expected one of {', '.join(functions)}."
        )
    with _running(file):
        config = functions[name]()
    if not isinstance(config, Config):
        raise InputError(f"{file}: {name}() returns no `Config`, but {config!r:.80}.")
    return config


def packaged_files() -> dict[str, Path]:
    """Returns the config files that come with the package, by name.

    They are in `configs` beside the package in the repository, and inside the package
    in a wheel.
    """
    package = Path(__file__).parent
    folders = (package / "configs", package.parent / "configs")
    for folder in folders:
        if (folder / "tiny.py").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.py"))}
    return {}


def describe_configs() -> str:
    """Describes each config of the package: its name, title, cost and result."""
    lines = []
    for stem, path in packaged_files().items():
        functions = config_functions(path)
        for name, function in functions.items():
            text = inspect.getdoc(function) or ""
            lines.append(stem if name == stem else f"{stem}:{name}")
            lines.append(f"    {text.splitlines()[0]}")
            found = _RESULT.search(text)
            if found:
                lines.append(f"    {' '.join(found[0].split())}")
    return "\n".join(lines)


def config_functions(file: str | Path) -> dict[str, Callable[[], Any]]:
    """Returns the public functions without arguments that a file defines, by name.

    Raises:
        InputError: The file cannot be run.
    """
    found = {}
    with _running(file):
        content = runpy.run_path(str(file), run_name=_MODULE)
    for name, value in content.items():
        # What the file imports is not one of its configs.
        own = inspect.isfunction(value) and value.__module__ == _MODULE
        if own and name[0] != "_" and not inspect.signature(value).parameters:
            found[name] = value
    return found


@contextlib.contextmanager
def _running(file: str | Path) -> Iterator[None]:
    """Lets a config file import what is beside it, and says which file has an error."""
    folder = str(Path(file).resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # It is somebody's own code.
        raise InputError(
            f"{file}: cannot be run: {type(error).__name__}: {error}."
        ) from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _default_name(file: str, names: list[str]) -> str:
    for name in (Path(file).stem, "get_config"):
        if name in names:
            return name
    if len(names) > 1:
        raise InputError(
            f"{file}: has several configs. Append the name of one, as in "
            f"{file}:{names[0]}; there are {', '.join(names)}."
        )
    return names[0]
