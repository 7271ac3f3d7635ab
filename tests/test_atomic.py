"""Files that are whole or not there, folders that one process writes to."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import locked, whole_file, write_file

HOLD = """
import sys, time
from pathlib import Path
from movseg_jax.system.atomic import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_until_its_process_ends(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another process"), locked(tmp_path):
            pass
        other.kill()
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(InputError, match="missing"), locked(tmp_path / "missing"):
        pass


def test_a_file_stays_what_it_was_if_writing_fails(tmp_path):
    file = tmp_path / "file"
    file.write_text("before")
    with pytest.raises(RuntimeError), whole_file(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def fail_to_sync(monkeypatch, number, is_kind):
    """Lets `fsync` fail for folders or for files."""
    sync = os.fsync

    def fail(descriptor):
        if is_kind(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_does_not_sync_folders_is_written_to(
    number, monkeypatch, tmp_path
):
    fail_to_sync(monkeypatch, number, stat.S_ISDIR)
    write_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("number", "is_kind"),
    [
        (errno.EIO, stat.S_ISDIR),
        (errno.EIO, stat.S_ISREG),
        (errno.EINVAL, stat.S_ISREG),
    ],
)
def test_a_disk_that_fails_is_an_error(number, is_kind, monkeypatch, tmp_path):
    fail_to_sync(monkeypatch, number, is_kind)
    with pytest.raises(InputError, match="cannot be written"):
        write_file(tmp_path / "file", b"content")
