"""Writing what an evaluation found: both files or none."""

from pathlib import Path

from movseg_jax.errors import InputError
from movseg_jax.evaluation.evaluate import Measured
from movseg_jax.evaluation.metrics_page import make_page
from movseg_jax.evaluation.results import summarise, to_json
from movseg_jax.evaluation.tables import to_text
from movseg_jax.system.atomic import make_folder, write_file

MAX_WORST = 200  # Frames on a page.


def check_outputs(
    out: Path | None, html: Path | None, *, worst: int, overwrite: bool
) -> None:
    """Makes the files' folders, and refuses what could not be written in the end.

    Called before anything is measured.

    Raises:
        InputError: A folder cannot be made, a file is there already, or both are one;
            or there are to be too many frames.
    """
    if not 0 <= worst <= MAX_WORST:
        raise InputError(
            f"`worst` is {worst}, expected 0 to {MAX_WORST} frames "
            "(reporting.MAX_WORST)."
        )
    if out is not None and html is not None and out.absolute() == html.absolute():
        raise InputError(f"{out}: --out and --html are the same file; name another.")
    for option, path in (("--out", out), ("--html", html)):
        if path is None:
            continue
        try:
            if path.is_dir():
                raise InputError(f"{option} {path}: is a folder, expected a file.")
            if path.exists() and not overwrite:
                raise InputError(
                    f"{option} {path}: is there already.",
                    way_out="`overwrite=True` replaces it.",
                )
            make_folder(path.parent)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
            if isinstance(error, InputError):
                raise
            raise InputError(f"{option} {path}: cannot be used: {error}.") from None


def report(
    measured: Measured, out: Path | None, html: Path | None, *, worst: int
) -> str:
    """Writes the files that are asked for; returns the table.

    Raises:
        InputError: They cannot be written, or a frame that is to be shown is damaged.
    """
    results = summarise(measured)
    files = {out: to_json(results)} if out is not None else {}
    if html is not None:
        files[html] = make_page(results, worst)
    for path, data in files.items():
        write_file(path, data)
    return "\n".join([to_text(results), *(f"Wrote {path}" for path in files)])
