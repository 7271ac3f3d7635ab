"""Writes rendered clips to a folder: DAVIS' layout, and further exact truth.

JPEGImages/<clip>/00000.jpg    Annotations/<clip>/00000.png   palette, 0: background
Flow/<clip>/00000.flo          Occlusions/<clip>/00000.png    to the next frame
Depth/<clip>/00000.npz         Truth/<clip>.json              written last
synthetic.json                 config and seed
ImageSets/train.txt, val.txt   names of clips; every tenth is for validation
"""

import dataclasses
import functools
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.flow.files import encode_flo
from movseg_jax.images import encode_ids, encode_jpeg, encode_png
from movseg_jax.scenes.library import Library
from movseg_jax.scenes.render import Rendered, render_clip
from movseg_jax.scenes.scene import Scene
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.staging import make_scene
from movseg_jax.system.atomic import write_file
from movseg_jax.system.workers import MAX_WORKERS, run
from movseg_jax.system.workspace import Workspace, read_marker

MAX_CLIPS = 10_000_000
FORMAT = 1  # The folder's format; it is raised when the clips of a seed change.
SETTINGS = "synthetic.json"
VALIDATION = 10  # One clip in this many is for validation.
FOLDERS = ("JPEGImages", "Annotations", "Flow", "Occlusions", "Depth")


def write_clips(
    out: str | Path,
    clips: int,
    seed: int,
    config: SceneConfig,
    library: Library | None = None,
    *,
    overwrite: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Writes the first clips of a seed, and keeps those that are complete already.

    The files' bytes do not depend on the number of workers.

    Args:
        out: The folder; it is made if it is missing.
        clips: The number of clips in the complete set.
        seed: The seed of the set.
        config: The settings of how clips look.
        library: The photographs and cut-outs to use.
        overwrite: Whether to remove clips of other settings and write these instead.
        workers: The number of processes. With several, a script needs
            `if __name__ == "__main__":`, because multiprocessing imports it again.
        progress: A function that is called with the number of clips that are done and
            the number of all clips.

    Returns:
        The number of clips that this call wrote.

    Raises:
        InputError: The folder holds clips of other settings or something else, or it
            cannot be written; or a picture of the library cannot be read.
    """
    out = Path(out)
    check_numbers(clips, seed)
    if not 0 < workers <= MAX_WORKERS:
        raise InputError(f"`workers` is {workers}, expected 1 to {MAX_WORKERS}.")
    _prepare(out, _settings(seed, config, library), overwrite)
    missing = [i for i in range(clips) if not _truth_file(out, i).is_file()]
    done = clips - len(missing)
    report = progress or (lambda done, total: None)
    report(done, clips)
    arguments = (out, seed, config, library)
    for _ in _written(missing, min(workers, len(missing)), arguments):
        done += 1
        report(done, clips)
    _write_lists(out)
    return len(missing)


def _write_lists(out):
    """Lists the clips of each split; a clip's split does not depend on their number."""
    stems = [path.stem for path in sorted((out / "Truth").glob("clip*.json"))]
    names = [stem for stem in stems if re.fullmatch(r"clip\d+", stem)]
    validation = [n for n in names if int(n[4:]) % VALIDATION == VALIDATION - 1]
    training = [name for name in names if name not in validation]
    folder = out / "ImageSets"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error}.") from None
    for split, clips in (("train", training), ("val", validation)):
        lines = "".join(f"{name}\n" for name in clips)
        write_file(folder / f"{split}.txt", lines.encode())


def _written(missing, workers, arguments) -> Iterator[None]:
    """Writes clips, and yields once after each."""
    for done in run(functools.partial(_write_clip, arguments), missing, workers):
        if done.problem is not None:
            raise InputError(done.problem)
        yield


def _settings(seed, config, library) -> dict[str, Any]:
    """Returns everything that the clips' bytes depend on, as JSON."""
    names = hashlib.sha256()
    for path in library.backgrounds if library else ():
        names.update(path.name.encode() + b"\0")
    for cutout in library.cutouts if library else ():
        names.update(cutout.image.name.encode() + b"\0")
        names.update(json.dumps(cutout.segmentation).encode())
    return {
        "format": FORMAT,
        "seed": seed,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "library": names.hexdigest() if library else None,
    }


def _prepare(out, settings, overwrite):
    """Claims the folder for clips of these settings, or finds that it has them."""
    workspace = Workspace(out, SETTINGS)
    if overwrite and workspace.marker.exists():
        if read_marker(workspace.marker) == settings:
            return
        workspace.marker.unlink()
        _remove_clips(out)
    elif overwrite and workspace.names():
        # Whose files these are is not known, so that none of them may be removed.
        raise InputError(f"{out}: is not empty, and has no {SETTINGS}; choose another.")
    elif workspace.resumes(settings, "clips of another seed, config or library"):
        return
    workspace.claim(settings)


def _remove_clips(out):
    """Removes what `write_clips` wrote, and nothing else."""
    for truth in sorted((out / "Truth").glob("clip*.json")):
        truth.unlink()  # A clip is complete only with its truth, so this goes first.
    for name in FOLDERS:
        for folder in sorted((out / name).glob("clip*")):
            _remove_frames(folder)


def _remove_frames(folder):
    """Removes the frames in a clip's folder, and the folder if that empties it."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if re.fullmatch(r"\d{5}\.(jpg|png|flo|npz)|\..*\.tmp", path.name):
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _truth_file(out, index) -> Path:
    return out / "Truth" / f"{clip_name(index)}.json"


def _write_clip(arguments, index):
    """Writes a clip; its truth comes last and marks it as complete."""
    out, seed, config, library = arguments
    scene = make_scene(config, seed, index, library)
    clip = clip_name(index)
    try:
        for name in FOLDERS:
            _remove_frames(out / name / clip)  # An interrupted run left them.
            (out / name / clip).mkdir(parents=True, exist_ok=True)
        (out / "Truth").mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error}.") from None
    background = []
    for frame, rendered in enumerate(render_clip(scene)):
        last = frame == config.frames - 1
        for name, data in _files(rendered, last).items():
            folder, suffix = name.split(".")
            write_file(out / folder / clip / f"{frame:05d}.{suffix}", data)
        background.append(rendered.camera_flow.mean(axis=(0, 1)).tolist())
    truth = json.dumps(describe(scene) | {"background_flow": background}, indent=1)
    write_file(_truth_file(out, index), truth.encode())


def _files(rendered: Rendered, last: bool) -> dict[str, bytes]:
    """Returns the files of a frame; the last frame has no flow to a next one."""
    depth = io.BytesIO()
    np.savez_compressed(depth, depth=rendered.depth)
    files = {
        "JPEGImages.jpg": encode_jpeg(rendered.image),
        "Annotations.png": encode_ids(rendered.ids),
        "Depth.npz": depth.getvalue(),
    }
    if not last:
        files["Flow.flo"] = encode_flo(rendered.flow)
        files["Occlusions.png"] = encode_png(rendered.occluded.astype(np.uint8) * 255)
    return files


def describe(scene: Scene) -> dict[str, Any]:
    """Returns a clip's truth as JSON: objects, when they move, the camera's poses."""
    truth = scene.truth
    views = [scene.camera.view(t) for t in range(scene.config.frames)]
    return {
        "seed": scene.seed,
        "index": scene.index,
        "kind": scene.kind,
        "config": dataclasses.asdict(scene.config),
        "objects": [
            {
                "id": thing.number,
                "family": thing.family,
                "moving": moving.tolist(),
                "motion": np.round(motion, 4).tolist(),
            }
            for thing, moving, motion in zip(
                scene.objects, truth.moving, truth.motion, strict=True
            )
        ],
        "camera": [
            {
                "intrinsics": view.intrinsics.tolist(),
                "rotation": view.rotation.tolist(),
                "centre": view.centre.tolist(),
            }
            for view in views
        ],
    }


def clip_name(index: int) -> str:
    """Returns the name of the clip with a number."""
    return f"clip{index:06d}"


def check_numbers(clips: int, seed: int) -> None:
    """Raises InputError if the number of clips or the seed is out of range."""
    if not 0 < clips <= MAX_CLIPS:
        raise InputError(
            f"clips is {clips}, expected 1 to {MAX_CLIPS} (clips.MAX_CLIPS)."
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}, expected 0 to 2**63 - 1.")
