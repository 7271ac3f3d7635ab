"""A video segmented into a folder of a bucket: `movseg segment VIDEO --out gs://...`.

The work is done in a local folder, whose results are written to the bucket at the end,
`run.json` last: once that is there, the run is finished. Until then one object there,
`SPOOL`, holds the local `.movseg`, from which the run resumes on any machine. It is one
object because the files of a database only fit together as they were at one moment.
"""

import time
import zipfile
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.segment.run import Summary, segment_to_folder
from movseg_jax.segment.run_folder import RUN, WORK, RunFolder, read_run
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.buckets import Mirror, bucket_address, mirrored
from movseg_jax.system.progress import Progress

SPOOL = ".movseg.zip"
INTERVAL = 120.0  # Seconds between two uploads of the spool.
SHARE = 20  # The time between them is also at least so many times as long as one took.


def segment_to_bucket(
    source: str | Path,
    out: str | Path,
    detector: TrainedDetector,
    config: SegmentConfig | None = None,
    *,
    overwrite: bool = False,
    allow_truncated: bool = False,
    progress: Progress | None = None,
    copy_of: str | None = None,
) -> Summary:
    """Segments a video, or resumes that, and writes all results to a bucket.

    Args:
        source: A video that `read_frames` reads.
        out: The address of a folder, such as "gs://bucket/results".
        detector: A detector from `load_detector`.
        config: The settings; the defaults if None.
        overwrite: Whether to replace the results of another run there.
        allow_truncated: See `segment_to_folder`.
        progress: See `segment_to_folder`; the phase "upload" is added.
        copy_of: See `segment_to_folder`.

    Raises:
        InputError: The video cannot be read, or the bucket cannot be used for it.
    """
    show = progress or (lambda done, total, phase: None)
    with mirrored(bucket_address(out) or str(out)) as mirror:
        spool = _Spool(mirror)
        _read_state(mirror, spool, overwrite=overwrite)

        def keep(done: int, total: int | None, phase: str) -> None:
            show(done, total, phase)
            spool.put(phase)

        summary = segment_to_folder(
            source,
            mirror.folder,
            detector,
            config,
            overwrite=overwrite,
            allow_truncated=allow_truncated,
            progress=keep,
            copy_of=copy_of,
        )
        if not summary.finished:
            spool.put("")
            return summary
        if not summary.already:
            show(0, 1, "upload")
            _adopt_results(mirror, read_run(mirror.folder / RUN))
            mirror.put()
            show(1, 1, "upload")
        mirror.remove(SPOOL)
        return summary


def _adopt_results(mirror: Mirror, *runs: dict[str, Any] | None) -> None:
    """Lets the mirror replace what these runs have written to the bucket."""
    names: set[str] = set()
    for run in filter(None, runs):
        results = RunFolder(mirror.folder).results(run["about"])
        names |= {path.name for path in results}
    mirror.adopt(name for name in mirror.names() if name.split("/")[0] in names)


def _read_state(mirror: Mirror, spool: "_Spool", *, overwrite: bool) -> None:
    """Reads what an earlier run left in the bucket.

    Raises:
        InputError: There are objects, but not of a run of movseg.
    """
    names = mirror.names()
    mirror.get([name for name in (RUN, SPOOL) if name in names])
    spool.unpack()
    done = read_run(mirror.folder / RUN)
    if names and not done and not spool.about():
        raise InputError(
            f"{mirror.folder}: is not empty, and has no run of movseg; choose another "
            "place."
        )
    if overwrite:
        _adopt_results(mirror, done, spool.about())


class _Spool:
    """The local `.movseg`, and its copy in the bucket."""

    def __init__(self, mirror: Mirror):
        self._mirror = mirror
        self._file = mirror.folder / SPOOL
        self._work = mirror.folder / WORK
        self._phase: str | None = None
        self._due = 0.0

    def about(self) -> dict[str, Any] | None:
        """Returns the `run.json` of the unfinished run, if there is one."""
        return read_run(self._work / RUN)

    def unpack(self) -> None:
        """Makes the local `.movseg` what the bucket has.

        Raises:
            InputError: The object is damaged.
        """
        if not self._file.exists():
            return
        try:
            with zipfile.ZipFile(self._file) as packed:
                packed.extractall(self._work)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
            raise InputError(f"{self._file}: is damaged: {error}.") from None
        self._file.unlink()

    def put(self, phase: str) -> None:
        """Writes it to the bucket if that is due: in a new phase, or after a while.

        Call it between two frames, when the database does not change.
        """
        begins = phase != self._phase and phase in ("", "detect", "track")
        if not begins and (phase != "detect" or time.monotonic() < self._due):
            return
        self._phase, began = phase, time.monotonic()
        with zipfile.ZipFile(self._file, "w") as packed:
            for file in sorted(self._work.rglob("*")):
                packed.write(file, file.relative_to(self._work))
        self._mirror.put_file(SPOOL)
        self._file.unlink()
        if not (self._mirror.folder / RUN).exists():
            self._mirror.remove(RUN)  # The results that are replaced are not whole now.
        took = time.monotonic() - began
        self._due = time.monotonic() + max(INTERVAL, SHARE * took)
