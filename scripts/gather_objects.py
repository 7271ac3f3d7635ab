"""Gathers folders of photographs with object masks as one split in COCO's layout.

    python scripts/gather_objects.py OBJECTS --out OUT --split objects

Every folder of OBJECTS that holds an `instances.json` in COCO's layout and its images
in `images` is a source. The result is OUT/annotations/instances_SPLIT.json and the
images in OUT/SPLIT/SOURCE, converted to JPEG: `movseg data prepare coco --manual-dir
OUT --splits SPLIT` reads it. Images that exist already are not written again. The
file's only category is "object"; images are called SOURCE/NAME and are in the order of
the sources.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from movseg_jax.errors import InputError
from movseg_jax.images import encode_jpeg
from movseg_jax.system.atomic import write_file


def main() -> None:
    """Writes the split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("objects", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="objects")
    options = parser.parse_args()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    files = sorted(options.objects.glob("*/instances.json"))
    if not files:
        raise InputError(f"{options.objects}: has no folder with an instances.json.")
    for file in files:
        source = file.parent.name
        content = json.loads(file.read_text())
        numbers = {}
        for row in tqdm(content["images"], desc=source):
            numbers[row["id"]] = len(images) + 1
            name = f"{source}/{Path(row['file_name']).stem}.jpg"
            write_jpeg(
                file.parent / "images" / row["file_name"],
                options.out / options.split / name,
            )
            images.append(row | {"id": len(images) + 1, "file_name": name})
        for row in content["annotations"]:
            place = {"id": len(annotations) + 1, "image_id": numbers[row["image_id"]]}
            annotations.append(row | place | {"category_id": 1})
    merged = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    listing = options.out / "annotations" / f"instances_{options.split}.json"
    listing.parent.mkdir(parents=True, exist_ok=True)
    write_file(listing, json.dumps(merged, separators=(",", ":")).encode())


def write_jpeg(source: Path, target: Path) -> None:
    """Writes an image as JPEG, unless it is there."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        write_file(target, encode_jpeg(np.asarray(picture.convert("RGB"))))


if __name__ == "__main__":
    main()
