"""The folder of a batch: a folder for each video, and what is known of all of them.

`batch.json` says with what all videos are segmented; it keeps other runs out. The state
of a video is in `.batch/NAME`: its claim (`system.claims`) and its row, which only the
owner of the claim writes. The row says whose folder `NAME` is: commands with different
lists may give two videos the same name, then the one that has it first keeps it, and
the other's name gets a hash (`BatchFolder.read`). `batch.jsonl` and `failed.txt` are
made of these rows, by any process and as often as it likes, so nothing is lost if two
write them at once.
"""

import json
import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from movseg_jax.errors import InputError
from movseg_jax.report.html import counted
from movseg_jax.segment.fetching import identifies
from movseg_jax.segment.run_folder import RUN, WORK
from movseg_jax.segment.video_list import hashed_names, name_folders
from movseg_jax.system import claims
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.bounded import read_text
from movseg_jax.system.claims import Claim
from movseg_jax.system.workspace import Workspace, differences, read_marker

MARKER = "batch.json"
ROWS, FAILED = "batch.jsonl", "failed.txt"
STATES = ".batch"  # In the folder; it has a folder for each video that was begun.
ROW, COPIES = "row.json", "copies"  # There.
MAX_ROWS_BYTES = 2**28  # Of batch.jsonl: a million videos.

State = Literal["waiting", "running", "stopped", "done", "failed"]


class Row(NamedTuple):
    """The state of a video, a line of batch.jsonl.

    Attributes:
        video: The absolute path, or the address.
        folder: The name of the folder with the results.
        state: "stopped" is half done, and resumes; "waiting" was not begun.
        frames: Number of frames that were segmented.
        tracks: Number of tracks.
        seconds: Time that the last attempt took.
        worker: The process that made it, "host:pid".
        error: The error, if it failed.
        notes: Notes on how the video was read.
    """

    video: str
    folder: str
    state: State = "waiting"
    frames: int = 0
    tracks: int = 0
    seconds: float = 0.0
    worker: str = ""
    error: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> "Row | None":
        """Returns the row that a JSON object describes; None if it does not."""
        kinds = (str, str, str, int, int, float | int, str, str, tuple)
        try:
            row = cls(**value)
            row = row._replace(notes=tuple(row.notes))
        except TypeError:
            return None
        valid = all(map(isinstance, row, kinds))
        # A name leads to no other folder.
        named = valid and row.folder not in ("", ".", "..") and "/" not in row.folder
        return row if named and row.state in get_args(State) else None

    def to_json(self) -> str:
        """Returns the row as JSON in one line."""
        return json.dumps(self._asdict())


class Wanted(NamedTuple):
    """The results that are asked for.

    Attributes:
        about: Values that decide about the results of all videos, as in run.json.
        allow_truncated: Whether a damaged video is done, and not failed.
        since: The time of `claims.server_time` from which on a failure counts. A video
            that failed before is tried again.
    """

    about: Mapping[str, Any]
    allow_truncated: bool
    since: float


class BatchFolder:
    """Where many videos are segmented.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._rows: dict[str, Row] = {}  # By video; of states only "waiting" is known.

    # Whose it is ---------------------------------------------------------------------

    def check(self, about: Mapping[str, Any], *, overwrite: bool) -> None:
        """Refuses a folder that others use, before anything is written to it.

        Args:
            about: JSON that decides about the results of all videos.
            overwrite: Whether results of other settings may be replaced, and written
                beside files of others.

        Raises:
            InputError: It holds files of others, or results of other settings.
        """
        if not self.path.is_dir():
            return
        names = Workspace(self.path, MARKER).names()
        stored = read_marker(self.path / MARKER)
        if stored is not None:
            changes = differences(stored, about, exact=True)
            problem = f"has a batch with other settings ({changes})" if changes else ""
        elif MARKER in names:
            problem = f"its {MARKER} is damaged"
        else:
            problem = f"is not empty and has no {MARKER} of a batch" if names else ""
        if problem and not overwrite:
            raise InputError(
                f"{self.path}: {problem}; choose another folder, or `overwrite=True`."
            )
        ours = stored is not None or (self.path / STATES).is_dir()
        if not ours and (taken := sorted(names & {MARKER, ROWS, FAILED})):
            raise InputError(
                f"{self.path}: has {', '.join(taken)}, but not of a batch of movseg; "
                "remove that, or choose another folder."
            )

    def claim(self, about: Mapping[str, Any]) -> None:
        """Makes the folder one of a batch.

        Raises:
            InputError: It cannot be made.
        """
        workspace = Workspace(self.path, MARKER)
        make_folder(self.path / STATES)
        if read_marker(workspace.marker) != about:
            workspace.claim(about)

    def check_shared(self, home: str) -> None:
        """Refuses a folder that was not made by a batch, as seen on this machine.

        Args:
            home: The machine that has made it.

        Raises:
            InputError: This machine does not see what the other one wrote there.
        """
        if not (self.path / MARKER).is_file():
            raise InputError(
                f"{self.path}: {platform.node()} sees no {MARKER} there, which {home} "
                "has written. All machines must share this folder, at the same path."
            )

    def expected(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what decides about the results if only the settings may have changed.

        Args:
            settings: The settings, as `dataclasses.asdict` gives them.
        """
        known = read_marker(self.path / MARKER) or {}
        return {**known, "settings": json.loads(json.dumps(settings))}

    # The videos ----------------------------------------------------------------------

    def add(self, videos: Iterable[str]) -> list[Row]:
        """Names the folders of videos; returns their rows, as waiting.

        Raises:
            InputError: The list of an earlier run is too large.
        """
        videos = [*videos]
        self._load()
        known = {video: row.folder for video, row in self._rows.items()}
        names = name_folders(videos, known, (MARKER, ROWS, FAILED))
        for video in videos:
            self._rows.setdefault(video, Row(video, names[video]))
        return [self._rows[video] for video in videos]

    def _load(self) -> None:
        """Adds the videos of batch.jsonl; damaged lines are left out."""
        file = self.path / ROWS
        if not file.is_file():
            return
        text = read_text(file, MAX_ROWS_BYTES, "batch_folder.MAX_ROWS_BYTES")
        for line in text.splitlines():
            try:
                row = Row.from_json(json.loads(line))
            except (ValueError, RecursionError):
                continue
            if row is not None:
                self._rows.setdefault(row.video, Row(row.video, row.folder))

    def results(self, row: Row) -> Path:
        """Returns the folder of a video's results."""
        return self.path / row.folder

    def claims(self, row: Row) -> Path:
        """Returns the folder of a video's claims."""
        return self.path / STATES / row.folder

    def copies(self, row: Row) -> Path:
        """Returns the folder for the copy of a video that is downloaded."""
        return self.claims(row) / COPIES

    # Their states --------------------------------------------------------------------

    def write(self, row: Row) -> None:
        """Keeps the state of a video; only the owner of its claim may.

        Raises:
            InputError: It cannot be written.
        """
        write_file(self.claims(row) / ROW, f"{row.to_json()}\n".encode())

    def read(self, row: Row) -> Row:
        """Returns the latest state of a video, with the name of its folder.

        It is another name than in `row` if another video owns the folder of that name.
        """
        known, names = self._stored(row), hashed_names(row.video)
        while known is not None and known.video != row.video:
            row = row._replace(folder=next(names))
            known = self._stored(row)
        known = row if known is None else known._replace(folder=row.folder)
        if known.state == "running" and claims.owner(self.claims(row)) is None:
            return known._replace(state="stopped")
        return known

    def _stored(self, row: Row) -> Row | None:
        """The row of the video that owns a folder; None if no video was begun there."""
        return Row.from_json(read_marker(self.claims(row) / ROW) or {})

    def begin(self, row: Row) -> tuple[Row, Claim] | None:
        """Claims a video, and the name of its folder.

        Returns:
            Its latest state and the claim; None if another process has the claim.

        Raises:
            InputError: The folder cannot be written to.
        """
        while True:
            row = self.read(row)
            claim = claims.take(self.claims(row))
            if claim is None:
                return None
            # Another process may have begun a video of the same name meanwhile.
            now = self.read(row)
            if now.folder == row.folder:
                return now, claim
            claim.release()

    def look(self, row: Row) -> Row:
        """Returns the state of a video by what its folder holds, whatever the settings.

        It is for telling users; `settled` decides what is left to do.
        """
        row = self.read(row)
        folder = self.results(row)
        if (folder / RUN).is_file() and row.state != "failed":
            return row._replace(state="done")
        half_done = (folder / WORK / RUN).is_file() and row.state == "waiting"
        return row._replace(state="stopped") if half_done else row

    def settled(self, row: Row, wanted: Wanted) -> Row | None:
        """Returns the row of a video that needs no more work, otherwise None."""
        before = self.read(row)
        run = read_marker(self.results(before) / RUN) or {}
        known = run["about"] if isinstance(run.get("about"), dict) else {}
        about = {"video": known.get("video"), **wanted.about}
        if identifies(known.get("video"), row.video) and _same(known, about):
            frames, damage = int(run.get("frames", 0)), str(run.get("damage", ""))
            error = ""
            if damage and not wanted.allow_truncated:
                error = f"{damage} The results are of {counted(frames, 'frame')}; "
                error += "`allow_truncated=True` accepts that."
            return before._replace(
                state="failed" if error else "done",
                frames=frames,
                tracks=int(run.get("tracks", 0)),
                error=error,
            )
        failed = before.state == "failed" and self._changed(before) >= wanted.since
        return before if failed else None

    def _changed(self, row: Row) -> float:
        """The time of `claims.server_time` when a video's state was written."""
        try:
            return (self.claims(row) / ROW).stat().st_mtime
        except OSError:
            return -math.inf

    def replaces(self, row: Row, about: Mapping[str, Any], overwrite: bool) -> bool:
        """Returns whether segmenting a video replaces what is in its folder.

        What is finished or half done just as asked for is not replaced, even to
        overwrite. What another kind of device left half done is replaced in any case:
        its results may differ in the last digit, and one video should be of one kind.
        """
        folder = self.results(row)
        places = (folder / RUN, folder / WORK / RUN)
        finished, half_done = ((read_marker(p) or {}).get("about") for p in places)
        if about in (finished, half_done):
            return False
        if finished is None and isinstance(half_done, dict) and _same(half_done, about):
            return True
        return overwrite

    def rows(self) -> list[Row]:
        """Returns the states of all videos that are or were asked for.

        Raises:
            InputError: The list of an earlier run is too large.
        """
        self._load()
        return [self.look(row) for row in self._rows.values()]

    def publish(self) -> list[Row]:
        """Writes batch.jsonl and failed.txt; returns the rows.

        failed.txt is a list of videos that `movseg segment` reads. Errors are comments
        in it.

        Raises:
            InputError: They cannot be written.
        """
        rows = self.rows()
        text = "".join(f"{row.to_json()}\n" for row in rows)
        write_file(self.path / ROWS, text.encode())
        lines = []
        for row in rows:
            if row.state == "failed":
                lines += [f"# {line}" for line in row.error.splitlines()] + [row.video]
        write_file(
            self.path / FAILED,
            "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"),
        )
        return rows


def common(about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what must be the same wherever the videos of a batch are segmented.

    The kinds of devices may differ among the machines that share the work.
    """
    return {key: value for key, value in about.items() if key != "device"}


def _same(known: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    return not differences(common(known), common(about), exact=True)


def states(rows: Iterable[Row]) -> dict[str, int]:
    """Returns the number of videos in each state that there is."""
    counts = Counter(row.state for row in rows)
    return {state: counts[state] for state in get_args(State) if counts[state]}


def read_batch(root: Path) -> list[Row]:
    """Returns the states of a batch's videos.

    Raises:
        InputError: The folder is not one of a batch.
    """
    if read_marker(root / MARKER) is None:
        raise InputError(
            f"{root}: has no {MARKER}, which a batch of videos has; expected the --out "
            "of `movseg segment` with several videos."
        )
    return BatchFolder(root).rows()
