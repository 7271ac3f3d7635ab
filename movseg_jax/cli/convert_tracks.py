"""The command `movseg convert-tracks`."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import optional
from movseg_jax.errors import InputError
from movseg_jax.formats import Format, output_path


@dataclasses.dataclass(frozen=True)
class ConvertTracks:
    """Convert tracks from one file format to another, and correct them.

    Reads the results of a video, a folder of index PNGs, YouTube-VIS or COCO JSON, MOTS
    text, or .npz.

    Attributes:
        tracks: The file or folder to read.
        out: The file or folder to write. A file in a folder that exists is named by its
            format, and a suffix that is missing is added.
        to: Format to write.
            "tracks": YouTube-VIS JSON.
            "masks": palette PNGs as in DAVIS, in which a pixel is its track's number.
            "foreground": PNGs that are 255 where something moves.
            "cutouts": an RGBA PNG of each object in each frame.
            "alpha": a .webm or .mov video that is transparent where nothing moves.
            "colmap", "nerfstudio": PNGs that are 0 where something moves.
            "vggt": PNGs of the frames, black in the boxes of what moves.
            "coco": COCO JSON.
            "mots", "mot": text files of the MOT challenges.
            "fbms": a .dat file for the evaluation code of FBMS-59.
            "npz": a NumPy array.
            "prompts": JSON of boxes and points for models such as SAM 2.
        keep: Numbers of the tracks to keep.
        drop: Numbers of the tracks to leave out.
        merge: Tracks to join: 1=7 makes track 7 a part of track 1.
        sequence: Id or name of the video to take from JSON with several videos.
        video: The video itself; needed for cutouts, alpha and vggt.
        white: Value of white in the video's 16-bit images.
        fps: Frames per second of an alpha video.
        image_suffix: Suffix of the frames' file names in tracks, coco and colmap.
        dilate: Number of pixels by which objects grow in colmap, nerfstudio and vggt.
        class_id: Number of the objects' class in mots: 1 is a car, 2 a pedestrian.
        first_frame: Number of the first frame in mots; 0 in KITTI MOTS.
        prompt_frames: Numbers of the frames of prompts, counted from 0.
        positive_points: Number of points in each object of prompts.
        negative_points: Add points to prompts that are in other objects.
        overwrite: Replace the output if it exists.
    """

    tracks: tyro.conf.Positional[Path]
    out: Path
    to: Format
    keep: Annotated[tuple[int, ...] | None, optional("all", "INT [INT ...]")] = None
    drop: Annotated[tuple[int, ...], optional("none", "INT [INT ...]")] = ()
    merge: Annotated[tuple[str, ...], optional("none", "INT=INT [INT=INT ...]")] = ()
    sequence: Annotated[str | None, optional("the only video", "STR")] = None
    video: Annotated[str | None, optional("none", "STR")] = None
    white: Annotated[int | None, optional("65535", "INT")] = None
    fps: Annotated[
        float | None,
        optional("the times of the tracks, or the rate of the video, or 25", "FLOAT"),
    ] = None
    image_suffix: str = ".jpg"
    dilate: int = 0
    class_id: int = 2
    first_frame: int = 1
    prompt_frames: Annotated[
        tuple[int, ...] | None,
        optional("for each track the one that shows most of it", "INT [INT ...]"),
    ] = None
    positive_points: int = 1
    negative_points: bool = False
    overwrite: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.formats.conversion import tracks_path
        from movseg_jax.video.reading import source_paths

        video = [] if self.video is None else source_paths(self.video)
        return [tracks_path(self.tracks), *video]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [output_path(self.out, self.to)]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.formats.conversion import read_tracks, write_tracks
        from movseg_jax.formats.survey import survey
        from movseg_jax.video.reading import probe, read_frames

        (out,) = self.outputs()
        merge = _pairs(self.merge)
        if out.exists() and (out.is_file() or any(out.iterdir())):
            if not self.overwrite:
                raise InputError(f"{out}: exists already; --overwrite replaces it.")
        tracks = read_tracks(self.tracks, sequence=self.sequence)
        if self.keep is not None or self.drop or merge:
            from movseg_jax.track.editing import edit_tracks

            tracks = edit_tracks(tracks, keep=self.keep, drop=self.drop, merge=merge)
        surveyed = survey(tracks, out)
        video, fps = self.video, self.fps
        if video is not None and fps is None and not surveyed.timed:
            fps = probe(video, white=self.white).rate()

        first = tracks[0].number

        def frames():
            # Unless the tracks say what part of the video they are of, it is all of it.
            read = read_frames(
                video or "",
                start=first or 0,
                max_frames=None if first is None else len(tracks),
                allow_truncated=first is not None,
                white=self.white,
            )
            return (frame.image for frame in read)

        write_tracks(
            tracks,
            out,
            to=self.to,
            surveyed=surveyed,
            frames=None if video is None else frames,
            fps=fps,
            image_suffix=self.image_suffix,
            dilate=self.dilate,
            class_id=self.class_id,
            first_frame=self.first_frame,
            prompt_frames=self.prompt_frames,
            positive_points=self.positive_points,
            negative_points=self.negative_points,
        )
        return f"{len(tracks)} frames: {out}"


def _pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the numbers of texts such as "1=7".

    Raises:
        InputError: One is no such text.
    """
    for text in texts:
        if not re.fullmatch("[0-9]+=[0-9]+", text):
            raise InputError(
                f"--merge: {text!r:.80} does not have the form INT=INT, such as 1=7."
            )
    pairs = [text.split("=") for text in texts]
    return [(int(into), int(part)) for into, part in pairs]
