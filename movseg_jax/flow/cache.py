"""Keeps estimated flow on disk, and finds it again by the frames' pixels."""

import contextlib
import dataclasses
import hashlib
import os
import re
import time
from pathlib import Path

import cv2
import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.flow.estimators import FlowEstimator, OpenCVEstimator, check_frames
from movseg_jax.flow.files import encode_npz, read_flow
from movseg_jax.system.atomic import write_file

ENTRY = re.compile(r"[0-9a-f]{40}\.npz")
# A writer that was killed leaves such a file.
LEFT_OVER = re.compile(r"\.[0-9a-f]{40}\.npz\.[0-9a-f]+\.tmp")


def cached(
    estimator: FlowEstimator,
    folder: Path,
    *,
    name: str | None = None,
    max_bytes: int | None = None,
) -> FlowEstimator:
    """Returns an estimator that keeps its results in a folder and reuses them.

    Entries are lossless. They are found by the pixels of both frames, the estimator's
    name and settings, and OpenCV's version. Any number of processes may share the
    folder; damaged entries are estimated anew.

    Args:
        estimator: The estimator whose results are kept.
        folder: The folder, which is made if it is missing. Other files in it are left
            alone.
        name: A text that identifies the estimator and its settings; not needed for
            those of `get_estimator`.
        max_bytes: The size of all entries above which the least recently used ones are
            removed; None for no limit.

    Raises:
        InputError: There is no name, or the folder cannot be made.
    """
    if name is None and not isinstance(estimator, OpenCVEstimator):
        raise InputError(
            "a cache of an estimator of your own needs `name`: a text that tells it "
            "and its settings from all others."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder: {error}.") from None
    return CachedEstimator(estimator, folder, name or repr(estimator), max_bytes)


@dataclasses.dataclass(frozen=True)
class CachedEstimator:
    """An estimator with a cache on disk, as `cached` makes it."""

    estimator: FlowEstimator
    folder: Path
    name: str
    max_bytes: int | None = None

    def __call__(self, frame: np.ndarray, next_frame: np.ndarray) -> np.ndarray:
        """Returns the flow from `frame` to `next_frame`, float32 [h, w, 2].

        Raises:
            InputError: The estimator raises it, or the entry cannot be written.
        """
        check_frames(frame, next_frame)
        path = self.folder / f"{self._key(frame, next_frame)}.npz"
        with contextlib.suppress(InputError):  # The entry may be missing or damaged.
            flow = read_flow(path, frame_size=frame.shape[:2])
            with contextlib.suppress(OSError):  # Another process may have removed it.
                os.utime(path)
            return flow
        flow = self.estimator(frame, next_frame)
        write_file(path, encode_npz(flow))
        if self.max_bytes is not None:
            self._shrink(self.max_bytes)
        return flow

    def _key(self, frame, next_frame):
        """Returns a hash of everything that the flow depends on."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(repr((self.name, cv2.__version__, frame.shape)).encode())
        for rgb in (frame, next_frame):
            digest.update(np.ascontiguousarray(rgb).data)
        return digest.hexdigest()

    def _shrink(self, max_bytes):
        """Removes the least recently used entries, and left-overs."""
        entries = []
        with os.scandir(self.folder) as files:
            for file in files:
                # Another process may have removed it.
                with contextlib.suppress(OSError):
                    status = file.stat(follow_symlinks=False)
                    if ENTRY.fullmatch(file.name):
                        entries.append((status.st_mtime_ns, status.st_size, file.path))
                    elif LEFT_OVER.fullmatch(file.name):
                        if status.st_mtime < time.time() - 3600:
                            os.unlink(file.path)
        excess = sum(size for _, size, _ in entries) - max_bytes
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            Path(path).unlink(missing_ok=True)
            excess -= size
