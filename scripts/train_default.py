"""Trains the model that comes with the package, from the data to the weights.

    python scripts/train_default.py --out runs --davis DAVIS --coco COCO \\
        --backgrounds PHOTOGRAPHS --resnet resnet50v2.npz

- DAVIS: the DAVIS 2016 data set, of which the frames of 480x270 pixels are used;
- COCO: a folder with `annotations/instances_train.json`, everything labelled, and
  `instances_one_person_only.json`, one person labelled an image, and their images in
  `train` and `one_person_only`;
- PHOTOGRAPHS: a folder of images, behind and upon the things of rendered clips;
- resnet50v2.npz: ImageNet weights of a pre-activation ResNet-50, Gluon's names.

Everything is written below --out, in steps that are `movseg` commands and are printed.
Stopped at any moment and started again, it goes on where it was. On two CPU cores it
takes about two hours.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "default"
CODE = "import sys; from movseg_jax.cli import main; sys.exit(main())"


def steps(options: argparse.Namespace) -> Iterator[list[str | Path]]:
    """The commands in order; paths are relative to `options.out`."""
    pictures = [
        *("--backgrounds", options.backgrounds, "--cutouts"),
        options.coco / "annotations" / "instances_train.json",
    ]
    synth = ["--scene.size", "256", "448", *pictures]
    yield ["convert", options.resnet, "--out",
           "weights/resnet50v2.safetensors", "--overwrite"]  # fmt: skip
    yield ["synth", "--out", "data/rendered", "--clips", "360", *synth,
           "--scene.frames", "6"]  # fmt: skip
    yield ["synth", "--out", "data/things/rendered", "--clips", "300", *synth,
           "--scene.frames", "2", "--scene.label-static", "--seed", "1"]  # fmt: skip
    prepare = ["data", "prepare", "coco", "--manual-dir", options.coco]
    prepare += ["--data-dir", "data/things", "--overwrite", "--splits"]
    yield [*prepare, "train"]
    yield [*prepare, "one_person_only", "--options", "unlabelled=ignore"]
    prepare = ["data", "prepare", "--data-dir", "data/estimated", "--flow", "dis"]
    prepare += ["--overwrite"]
    yield [*prepare, "rendered", "--manual-dir", "data/rendered",
           "--splits", "train", "val"]  # fmt: skip
    yield [*prepare, "davis2016", "--manual-dir", options.davis, "--splits", "fit",
           "development", "--options", "resolution=270p"]  # fmt: skip
    for stage, data in (
        ("appearance", "data/things"),
        ("motion", "data"),
        ("motion_estimated", "data/estimated"),
        ("joint", "data/estimated"),
    ):
        run = ["--workdir", f"runs/default/{stage}", "--data-dir", data]
        yield ["train", CONFIGS / f"{stage}.py", *run]


def main() -> int:
    """Runs the steps that are not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, text in (
        ("out", "folder for everything that is made"),
        ("davis", "DAVIS 2016"),
        ("coco", "COCO's images and annotations"),
        ("backgrounds", "photographs"),
        ("resnet", "ImageNet weights"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    options = parser.parse_args(namespace=argparse.Namespace())
    for name, path in vars(options).items():
        setattr(options, name, path.resolve())
    out = options.out
    (out / "weights").mkdir(parents=True, exist_ok=True)
    done = out / "steps_done.txt"
    finished = done.read_text().splitlines() if done.exists() else []
    for step in steps(options):
        arguments = [str(argument) for argument in step]
        command = " ".join(["movseg", *arguments])
        if command in finished:
            continue
        print(command, flush=True)
        status = subprocess.run([sys.executable, "-c", CODE, *arguments], cwd=out)
        if status.returncode:
            return status.returncode
        with done.open("a") as file:
            file.write(f"{command}\n")
    print(f"Now: python scripts/bundle_weights.py {out}/runs/default/joint")
    return 0


if __name__ == "__main__":
    sys.exit(main())
