"""Finds data that some tests need and that the repository does not contain.

The environment variable MOVSEG_TEST_DATA names its folder. Tests whose files are not
there are skipped, and the summary at the end of a run says so.
"""

import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("MOVSEG_TEST_DATA")


def outside(name: str) -> Path:
    """Returns the path of a file or folder; it exists only if the data are there."""
    # Without the variable, the path lies below a file and cannot exist.
    return Path(FOLDER or __file__) / name


def needs(*names: str) -> pytest.MarkDecorator:
    """Returns the mark of a test that is skipped unless all these paths exist."""
    missing = [name for name in names if not outside(name).exists()]
    lacks = f"{FOLDER} lacks {', '.join(missing)}"
    reason = lacks if FOLDER else "MOVSEG_TEST_DATA is not set"
    return pytest.mark.skipif(bool(missing), reason=reason)
