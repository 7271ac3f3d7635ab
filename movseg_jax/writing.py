"""Files that are whole or not there."""

import os
import secrets
from pathlib import Path

from movseg_jax.errors import InputError


def write_file(path: Path, data: bytes) -> None:
    """Writes a whole file or none, even if the machine stops at any moment.

    Raises:
        InputError: It cannot be written: the folder is missing or read-only, the disk
            is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # Else the new name may not survive a power cut.
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
