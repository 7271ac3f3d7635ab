"""The command `movseg convert-tracks`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import optional
from movseg_jax.errors import InputError
from movseg_jax.formats import Format


@dataclasses.dataclass(frozen=True)
class ConvertTracks:
    """Convert tracks from one file format to another.

    Reads a folder of index PNGs, YouTube-VIS or COCO JSON, MOTS text, or .npz.

    Attributes:
        tracks: The file or folder to read.
        out: The file or folder to write.
        to: Format to write.
            "tracks": YouTube-VIS JSON.
            "masks": palette PNGs as in DAVIS, in which a pixel is its track's number.
            "foreground": PNGs that are 255 where something moves.
            "cutouts": an RGBA PNG of each object in each frame.
            "alpha": a .webm or .mov video that is transparent where nothing moves.
            "colmap": PNGs that are 0 where something moves.
            "coco": COCO JSON.
            "mots", "mot": text files of the MOT challenges.
            "fbms": a .dat file for the evaluation code of FBMS-59.
            "npz": a NumPy array.
        sequence: Id or name of the video to take from JSON with several videos.
        video: The video itself; needed for cutouts and alpha.
        white: Value of white in the video's 16-bit images.
        fps: Frames per second of an alpha video.
        image_suffix: Suffix of the frames' file names in tracks, coco and colmap.
        dilate: Number of pixels by which objects grow in colmap.
        overwrite: Replace the output if it exists.
    """

    tracks: tyro.conf.Positional[Path]
    out: Path
    to: Format
    sequence: Annotated[str | None, optional("the only video", "STR")] = None
    video: Annotated[str | None, optional("none", "STR")] = None
    white: Annotated[int | None, optional("65535", "INT")] = None
    fps: Annotated[float | None, optional("the times of the tracks", "FLOAT")] = None
    image_suffix: str = ".jpg"
    dilate: int = 0
    overwrite: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.video.reading import source_paths

        video = [] if self.video is None else source_paths(self.video)
        return [self.tracks, *video]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.formats.conversion import read_tracks, write_tracks
        from movseg_jax.video.reading import read_frames

        exists = self.out.exists() and (self.out.is_file() or any(self.out.iterdir()))
        if exists and not self.overwrite:
            raise InputError(f"{self.out}: exists already; --overwrite replaces it.")
        tracks = read_tracks(self.tracks, sequence=self.sequence)
        video = self.video

        def frames():
            read = read_frames(video or "", white=self.white)
            return (frame.image for frame in read)

        write_tracks(
            tracks,
            self.out,
            to=self.to,
            frames=None if video is None else frames,
            fps=self.fps,
            image_suffix=self.image_suffix,
            dilate=self.dilate,
        )
        return f"{len(tracks)} frames: {self.out}"
