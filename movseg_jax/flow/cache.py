"""Estimated flow kept on disk, found again by what it was estimated from."""

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
LEFT_OVER = re.compile(r"\.[0-9a-f]{40}\.npz\.[0-9a-f]+\.tmp")  # Of a killed writer.


def cached(
    estimator: FlowEstimator,
    folder: Path,
    *,
    name: str | None = None,
    max_bytes: int | None = None,
) -> FlowEstimator:
    """An estimator that looks in a folder first, and keeps there what it estimates.

    Entries are lossless and found by the pixels of both frames, the estimator's name
    and settings, and OpenCV's version. Any number of processes may share the folder;
    damaged entries are estimated anew.

    Args:
        estimator: Whose results to keep.
        folder: Made if missing. Files that are not the cache's are left alone.
        name: Tells the estimator and its settings from others; not needed for those of
            `get_estimator`.
        max_bytes: When the entries have more, those not used for longest are removed.

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
    """See `cached`."""

    estimator: FlowEstimator
    folder: Path
    name: str
    max_bytes: int | None = None

    def __call__(self, frame: np.ndarray, next_frame: np.ndarray) -> np.ndarray:
        """The flow from `frame` to `next_frame`, float32 [h, w, 2].

        Raises:
            InputError: As the estimator, or the entry cannot be written.
        """
        check_frames(frame, next_frame)
        path = self.folder / f"{self._key(frame, next_frame)}.npz"
        with contextlib.suppress(InputError):  # It is missing or damaged.
            flow = read_flow(path, frame_size=frame.shape[:2])
            with contextlib.suppress(OSError):  # Another process just removed it.
                os.utime(path)
            return flow
        flow = self.estimator(frame, next_frame)
        write_file(path, encode_npz(flow))
        if self.max_bytes is not None:
            self._shrink(self.max_bytes)
        return flow

    def _key(self, frame, next_frame):
        digest = hashlib.blake2b(digest_size=20)
        digest.update(repr((self.name, cv2.__version__, frame.shape)).encode())
        for rgb in (frame, next_frame):
            digest.update(np.ascontiguousarray(rgb).data)
        return digest.hexdigest()

    def _shrink(self, max_bytes):
        """Removes the entries that were not used for longest, and left-overs."""
        entries = []
        with os.scandir(self.folder) as files:
            for file in files:
                with contextlib.suppress(OSError):  # Removed by another process.
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
