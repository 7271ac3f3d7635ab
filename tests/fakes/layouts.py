"""Tiny data sets, laid out just as the real archives unpack.

Every clip shows object 1, and object 2 below it, moving to the right by a pixel each
frame; flow is (1, 0) plus a little noise. So `truth(i)` is the annotation of frame i.
"""

import json

import numpy as np

from movseg_jax import images, masks
from movseg_jax.data.datasets.video_instances import VideoInstances
from movseg_jax.flow.files import write_flow

SIZE = (12, 20)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def truth(i):
    ids = np.zeros(SIZE, np.uint8)
    ids[1:5, 2 + i : 6 + i] = 1
    ids[6:11, 1 + i : 4 + i] = 2
    return ids


def frame(i, seed=0):
    return np.random.default_rng([seed, i]).integers(0, 256, (*SIZE, 3), np.uint8)


def flow_of(i):
    noise = np.random.default_rng(i).normal(0, 0.1, (*SIZE, 2))
    return (noise + np.array([1, 0])).astype(np.float32)


def write_flow_folder(folder, stems, suffix=".flo"):
    """Of all frames but the last."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, stem in enumerate(stems[:-1]):
        kind = "kitti" if suffix == ".png" else None
        write_flow(folder / f"{stem}{suffix}", flow_of(i), to=kind)


def write_clip(frames, annotations, count=4, every=1, ids=truth, start=0):
    stems = [f"{i + start:05d}" for i in range(count)]
    for i, stem in enumerate(stems):
        write(frames / f"{stem}.jpg", images.encode_jpeg(frame(i)))
        if i % every == 0:
            write(annotations / f"{stem}.png", images.encode_ids(ids(i)))
    return stems


def davis2016(root, splits=(("train", ("bear", "dog-agility")), ("val", ("cows",)))):
    for split, names in splits:
        lines = []
        for name in names:
            folder = f"480p/{name}"
            stems = write_clip(
                root / "JPEGImages" / folder,
                root / "Annotations" / folder,
                ids=lambda i: np.where(truth(i), 255, 0).astype(np.uint8),
            )
            write_flow_folder(root / "flow" / name, stems)
            for stem in stems:
                image = f"/JPEGImages/{folder}/{stem}.jpg"
                lines.append(f"{image} /Annotations/{folder}/{stem}.png \n")
        write(root / "ImageSets" / "480p" / f"{split}.txt", "".join(lines))
    return {"flow": root / "flow"}


def davis2017(root, splits=(("train", ("bear", "dogs-jump")), ("val", ("cows",)))):
    for split, names in splits:
        for name in names:
            folder = f"480p/{name}"
            stems = write_clip(
                root / "JPEGImages" / folder, root / "Annotations" / folder
            )
            write_flow_folder(root / "flow" / name, stems, ".png")
        write(root / "ImageSets" / "2017" / f"{split}.txt", "\n".join(names))
    return {"flow": root / "flow"}


def youtube_vos(root, names=("003234408d", "0043f083b5"), count=8):
    videos = {}
    for name in names:
        stems = write_clip(
            root / "train_all_frames" / "JPEGImages" / name,
            root / "train" / "Annotations" / name,
            count=count,
            every=5,
        )
        for stem in stems[::5]:
            original = root / "train_all_frames" / "JPEGImages" / name / f"{stem}.jpg"
            write(
                root / "train" / "JPEGImages" / name / original.name,
                original.read_bytes(),
            )
        write_flow_folder(root / "flow" / name, stems)
        objects = {"1": {"category": "penguin", "frames": stems[::5]}}
        videos[name] = {"objects": objects}
    write(root / "train" / "meta.json", json.dumps({"videos": videos}))
    return {"flow": root / "flow"}


def photographs_with_objects(root, count):
    """A folder `images`, which are no JPEG, and their objects in COCO's layout."""
    content = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "x"}]}
    for i in range(count):
        write(root / "images" / f"{i}.png", images.encode_png(frame(i)))
        size = {"height": SIZE[0], "width": SIZE[1]}
        content["images"].append({"id": 5 + i, "file_name": f"{i}.png", **size})
        for number in (1, 2):
            content["annotations"].append(
                {
                    "id": 10 * i + number,
                    "image_id": 5 + i,
                    "category_id": 7,
                    "iscrowd": 0,
                    "segmentation": masks.to_json(masks.encode(truth(i) == number)),
                }
            )
    write(root / "instances.json", json.dumps(content))


def video_instances(root):
    """The clips that the package lists, with flow."""
    for split in VideoInstances.splits:
        for name in VideoInstances(root, split).sequences():
            stems = write_clip(root / "JPEGImages" / name, root / "Annotations" / name)
            write_flow_folder(root / "Flow" / name, stems)
    return {}


COLOURS = (16777215, 65535, 16711680)  # White background, cyan, red.
DEFINITION = """Ground truth definition file; do not change!

Total number of regions:
3
Scale of region 0:
16777215
Scale of region 1:
65535
Scale of region 2:
16711680

Confusion penality matrix:
0 1 1
1 0 1
1 1 0

Total number of frames in this shot:
5
Total number of labeled frames for this shot:
2
Frame number:
0
File name:
{0}_gt.{2}
Input file name:
{0}.ppm
Frame number:
3
File name:
{1}_gt.{2}
Input file name:
{1}.ppm
"""


def pnm(pixels):
    kind = b"P6" if pixels.ndim == 3 else b"P5"
    height, width = pixels.shape[:2]
    return b"%s\n%d %d\n255\n" % (kind, width, height) + pixels.tobytes()


def fbms(root, sequences=(("TrainingSet", "cars1"), ("TestSet", "tennis"))):
    """`cars1` has .pgm labels of grey values, the other .ppm with weights."""
    for folder, name in sequences:
        video = root / folder / name
        first, digits = (1, 2) if name == "cars1" else (454, 3)
        joint = "_" if name == "cars1" else ""
        stems = [f"{name}{joint}{first + i:0{digits}d}" for i in range(5)]
        for i, stem in enumerate(stems):
            write(video / f"{stem}.jpg", images.encode_jpeg(frame(i)))
        text = DEFINITION.format(stems[0], stems[3], "pgm" if joint else "ppm")
        if joint:
            for colour, grey in zip(COLOURS, (255, 100, 50), strict=True):
                text = text.replace(f"\n{colour}\n", f"\n{grey}\n")
        for i in (0, 3):
            labels = video / "GroundTruth" / f"{stems[i]}_gt.ppm"
            if joint:
                grey = np.array([255, 100, 50], np.uint8)[truth(i)]
                write(labels.with_suffix(".pgm"), pnm(grey))
            else:
                packed = np.array(COLOURS)[truth(i)]
                rgb = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)
                write(labels, pnm(rgb.astype(np.uint8)))
                sure = np.full(SIZE, 255, np.uint8)
                sure[0] = 51
                write(labels.with_suffix(".pgm"), pnm(sure))
            number = first + i
            moving = images.encode_png(truth(i) * np.uint8(80))
            write(video / "GroundTruth" / f"{number}_gt.png", moving)
        write(video / "GroundTruth" / f"{name}Def.dat", text)
        write_flow_folder(root / "flow" / name, stems)
    return {"flow": root / "flow"}


def flyingthings3d(root, parts=(("TRAIN", "A"), ("TRAIN", "B"), ("TEST", "C"))):
    for split, letter in parts:
        below = f"{split}/{letter}/0000"
        for i in range(10):
            stem = f"{i + 6:04d}"
            for folder in ("frames_cleanpass", "frames_finalpass"):
                picture = images.encode_png(frame(i, seed=len(folder)))
                write(root / folder / below / "left" / f"{stem}.png", picture)
            moving = np.where(truth(i), 255, 0).astype(np.uint8)
            label = images.encode_png(moving)
            write(root / "motion_labels" / below / "left" / f"{stem}.png", label)
            index = (truth(i)[::-1] * 7 + 3).astype("<f4").tobytes()
            header = b"Pf\n%d %d\n-1\n" % SIZE[::-1]
            write(
                root / "object_index" / below / "left" / f"{stem}.pfm", header + index
            )
            file = f"into_future/left/OpticalFlowIntoFuture_{stem}_L.pfm"
            path = root / "optical_flow" / below / file
            path.parent.mkdir(parents=True, exist_ok=True)
            write_flow(path, flow_of(i))
    return {}


def coco_json():
    """Three images: polygons and a crowd, nothing, and one object."""
    crowd = np.zeros(SIZE, bool)
    crowd[8:, 10:] = True
    runs = np.diff(np.flatnonzero(np.diff(crowd.ravel(order="F"), prepend=0, append=0)))
    counts = np.concatenate(
        [[int(np.flatnonzero(crowd.ravel(order="F"))[0])], runs]
    ).tolist()
    counts.append(crowd.size - sum(counts))
    if counts[-1] == 0:
        counts.pop()
    square = [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]]
    other = [[1.0, 6.0, 4.0, 6.0, 4.0, 11.0, 1.0, 11.0], [8, 0, 10, 0, 10, 2]]

    def row(identifier, image, category, segmentation, crowd=0):
        return {
            "id": identifier,
            "image_id": image,
            "category_id": category,
            "iscrowd": crowd,
            "segmentation": segmentation,
            "area": 12.5,
            "bbox": [1, 2, 3, 4],
        }

    height, width = SIZE
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {
                "id": i,
                "file_name": f"{i:012d}.jpg",
                "height": height,
                "width": width,
            }
            for i in (9, 25, 30)
        ],
        "annotations": [
            row(1038, 9, 51, square),
            row(900100448139, 9, 1, {"size": [height, width], "counts": counts}, 1),
            row(1040, 9, 90, other),
            row(2000, 30, 1, masks.to_json(masks.encode(truth(0) == 1))),
        ],
        "categories": [
            {"id": 1, "name": "person"},
            {"id": 90, "name": "toothbrush"},
            {"id": 51, "name": "bowl"},
        ],
    }


def coco(root, splits=("train2017", "val2017")):
    for split in splits:
        data = coco_json()
        write(root / "annotations" / f"instances_{split}.json", json.dumps(data))
        for image in data["images"]:
            picture = images.encode_jpeg(frame(image["id"]))
            write(root / split / image["file_name"], picture)
    return {}


def folder(root, names=("a clip", "b")):
    """Of "b" every second frame is annotated; it has no flow."""
    for name in names:
        stems = write_clip(
            root / "JPEGImages" / name,
            root / "Annotations" / name,
            every=1 if name != "b" else 2,
        )
        suffix = ".npz" if name != "b" else ".flo"
        write_flow_folder(root / "Flow" / name, stems, suffix)
    return {}
