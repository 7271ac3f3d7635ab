"""Trains the model that comes with the package, from the data to the weights.

    python scripts/train_default.py --out OUT --davis DAVIS --coco COCO \\
        --objects OBJECTS --videos VIDEOS --backgrounds PHOTOGRAPHS \\
        --resnet resnet50v2.npz

- DAVIS: the DAVIS 2016 data set; the frames of 480x270 pixels are used;
- COCO: a folder with `annotations/instances_train.json`, in which everything is
  labelled, `annotations/instances_one_person_only.json`, in which one person per
  image is labelled, and their images in `train` and `one_person_only`;
- OBJECTS: a folder of folders, each with photographs in `images` and masks of the
  salient objects in `instances.json`, as `scripts/gather_objects.py` reads them;
- VIDEOS: clips with instance masks, the data set `video_instances`;
- PHOTOGRAPHS: a folder of images, the backgrounds and textures of rendered clips;
- resnet50v2.npz: ImageNet weights of a pre-activation ResNet-50, its stem and first
  three stages (to stride 16), Gluon's names.

Everything is written below --out, which the paths in the docstrings of
`configs/default.py` are relative to. Each step is a command, which is printed. Stopped
at any moment and started again, the script resumes: OUT/steps_done.txt lists the steps
that made data. `movseg train` itself knows which steps of training are done, and
refuses a folder in which a run with another config stands.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
CONFIGS = SCRIPTS.parent / "configs" / "default.py"
MOVSEG = "import sys; from movseg_jax.cli.app import main; sys.exit(main())"
Step = list[str | Path]


def data_steps(options: argparse.Namespace) -> Iterator[Step]:
    """Returns the commands that make the data; paths are relative to `options.out`."""
    yield ["movseg", "convert", options.resnet, "--out",
           "weights/resnet50v2.safetensors", "--overwrite"]  # fmt: skip
    synth: Step = ["movseg", "synth", "--scene.size", "256", "448"]
    synth += ["--backgrounds", options.backgrounds, "--cutouts"]
    synth += [options.coco / "annotations" / "instances_train.json"]
    yield [*synth, "--out", "data/rendered", "--clips", "360", "--scene.frames", "6"]
    yield [*synth, "--out", "data/resting/rendered", "--clips", "200", "--seed", "7",
           "--scene.frames", "3", "--scene.nothing-moves", "1"]  # fmt: skip
    yield ["python", SCRIPTS / "gather_objects.py", options.objects, "--out",
           "data/objects"]  # fmt: skip
    animate: Step = ["python", SCRIPTS / "animate_photographs.py"]
    animate += ["--out", "data/animated"]
    yield [*animate, options.coco, "--splits", "train", "one_person_only",
           "--copies", "2"]  # fmt: skip
    yield [*animate, "data/objects", "--splits", "objects", "--name", "objects"]
    coco: Step = ["coco", "--manual-dir", options.coco]
    davis: Step = ["davis2016", "--manual-dir", options.davis, "--splits", "fit"]
    davis += ["development", "--options", "resolution=270p"]
    prepare: Step = ["movseg", "data", "prepare", "--overwrite", "--data-dir"]
    stills = [*prepare, "data/photographs"]
    yield [*stills, *coco, "--splits", "train"]
    ignore = ["--options", "unlabelled=ignore"]
    yield [*stills, *coco, "--splits", "one_person_only", *ignore]
    yield [*stills, "coco", "--manual-dir", "data/objects", "--splits", "objects",
           *ignore]  # fmt: skip
    yield [*stills, *davis]
    clips = [*prepare, "data/estimated", "--flow", "dis"]
    yield [*clips, *davis]
    for name, folder, splits in (
        ("rendered", "data/rendered", ["train"]),
        ("rendered", "data/resting/rendered", ["all"]),
        ("folder", "data/animated", ["train", "objects"]),
        ("video_instances", options.videos, ["fit", *ignore]),
    ):
        yield [*clips, name, "--manual-dir", folder, "--splits", *splits]


def stages() -> Iterator[Step]:
    """The commands that train, to be run after those that make the data."""
    for stage, data in (
        ("appearance", "data/photographs"),
        ("appearance_backbone", "data/photographs"),
        ("motion", "data/estimated"),
        ("joint", "data/estimated"),
    ):
        yield ["movseg", "train", f"{CONFIGS}:{stage}", "--workdir",
               f"runs/default/{stage}", "--data-dir", data]  # fmt: skip
    more_resting = ["--data.sources.3.weight", "1"]  # Clips in which nothing moves.
    for seed, changes in (("1", []), ("2", more_resting)):
        yield ["movseg", "train", f"{CONFIGS}:joint", "--workdir",
               f"runs/default/joint_seed{seed}", "--data-dir", "data/estimated",
               "--seed", seed, *changes]  # fmt: skip


def in_words(step: Step) -> str:
    """Returns a step as it is printed and listed."""
    return " ".join(map(str, step))


def run(step: Step, folder: Path) -> int:
    """Prints and runs a step, and returns its exit status."""
    print(in_words(step), flush=True)
    program, *arguments = map(str, step)
    start = [sys.executable, *(["-c", MOVSEG] if program == "movseg" else [])]
    return finish([*start, *arguments], folder)


def finish(command: list[str], folder: Path) -> int:
    """Runs a command, passes SIGTERM on to it and returns its exit status."""
    process = subprocess.Popen(command, cwd=folder)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Runs the steps that are not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, text in (
        ("out", "folder for everything that is made"),
        ("davis", "DAVIS 2016"),
        ("coco", "COCO's images and annotations"),
        ("objects", "photographs with object masks"),
        ("videos", "clips with instance masks"),
        ("backgrounds", "photographs"),
        ("resnet", "ImageNet weights"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    parser.add_argument("--data-only", action="store_true", help="do not train")
    options = parser.parse_args(namespace=argparse.Namespace())
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, value.resolve())
    out = options.out
    (out / "weights").mkdir(parents=True, exist_ok=True)
    done = out / "steps_done.txt"
    known = done.read_text().splitlines() if done.exists() else []
    for step in data_steps(options):
        if (command := in_words(step)) in known:
            continue
        if status := run(step, out):
            return status
        with done.open("a") as file:
            file.write(f"{command}\n")
    if options.data_only:
        return 0
    for step in stages():
        if status := run(step, out):
            return status
    names = ("joint", "joint_seed1", "joint_seed2")
    runs = " ".join(f"{out}/runs/default/{name}" for name in names)
    confidence = "--moves 1 -0.9 --rests 1 1"
    print(f"Now: python scripts/bundle_weights.py {runs} {confidence} --proposals 100 "
          "--sides 272 480")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
