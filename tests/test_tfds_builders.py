"""Records as TFDS' own builders write them: equal to the same data set in files.

Writing boxes, `Video` and lists of lists needs TensorFlow. So boxes are left out, and
the others are written as TFDS stores them: a sequence of images, and flat lists.
"""

import io
import json
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from numpy.testing import assert_array_equal
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from movseg_jax.data.building import prepare
from movseg_jax.data.checking import check
from movseg_jax.data.sources import open_source
from movseg_jax.errors import InputError
from movseg_jax.images import encode_png
from tests.fakes import layouts

Image, Sequence = tfds.features.Image, tfds.features.Sequence


def ragged(feature):
    """Lists of lists, as TFDS' `example_serializer` stores them."""
    return {
        "ragged_flat_values": Sequence(feature),
        "ragged_row_lengths_0": Sequence(np.int64),
    }


DAVIS = {
    "video": Sequence(
        {
            "frames": Image(shape=(None, None, 3)),
            "segmentations": Image(shape=(None, None, 1), use_colormap=True),
        }
    ),
    "metadata": {"num_frames": np.int64, "video_name": np.str_},
}
YOUTUBE_VIS = {
    "video": Sequence(Image(shape=(None, None, 3))),
    "metadata": {
        "height": np.int32,
        "width": np.int32,
        "num_frames": np.int32,
        "video_name": np.str_,
    },
    "tracks": {
        "segmentations": ragged(Image(shape=(None, None, 1), use_colormap=True)),
        "frames": ragged(np.int32),
        "category": Sequence(tfds.features.ClassLabel(num_classes=40)),
        "is_crowd": Sequence(np.bool_),
    },
}


def build(root, name, config, features, examples, split="train"):
    """Writes records as `tfds build` does, one in a file."""
    folder = root / name / config / "1.0.0"
    folder.mkdir(parents=True)
    info = tfds.core.DatasetInfo(
        builder=DatasetIdentity(name, tfds.core.Version("1.0.0"), str(folder), "x"),
        features=tfds.features.FeaturesDict(features),
    )
    writer = tfds.core.SequentialWriter(info, 1, file_format="array_record")
    writer.initialize_splits([split])
    writer.add_examples({split: examples})
    writer.close_all()
    return folder


@pytest.fixture
def davis(tmp_path):
    """The roots of DAVIS 2017 in files, and in records made of them."""
    files, records = tmp_path / "files", tmp_path / "records"
    layouts.davis2017(files)
    examples = []
    for name in ("bear", "dogs-jump"):
        images = sorted((files / "JPEGImages" / "480p" / name).iterdir())
        masks = sorted((files / "Annotations" / "480p" / name).iterdir())
        frames = [io.BytesIO(image.read_bytes()) for image in images]
        segmentations = [io.BytesIO(mask.read_bytes()) for mask in masks]
        examples.append(
            {
                "video": {"frames": frames, "segmentations": segmentations},
                "metadata": {"num_frames": len(images), "video_name": name},
            }
        )
    build(records, "davis", "480p", DAVIS, examples)
    return files, records


def assert_same_examples(one, other, *, flow=False):
    assert one.sequences == other.sequences and list(one.sizes) == list(other.sizes)
    for i in range(len(one)):
        a, b = one[i], other[i]
        assert a.name.split("/")[1:] == b.name.split("/")[1:]
        for field in ("image", "masks", "classes", "ids", "ignore", "moving"):
            assert_array_equal(getattr(a, field), getattr(b, field))
        if flow:
            assert (a.flow is None) == (b.flow is None)
            assert a.flow is None or (a.flow == b.flow).all()


def test_records_of_davis_are_as_its_files(davis):
    files, records = davis
    expected = open_source("davis2017", "train", files)
    source = open_source("tfds_davis", "train", records)
    assert source.name == "tfds_davis/train" and not any(source.has_flow)
    assert_same_examples(source, expected)
    assert_same_examples(pickle.loads(pickle.dumps(source)), expected)
    folder = records / "davis" / "480p" / "1.0.0"
    assert_same_examples(open_source("tfds_davis", "train", folder), expected)
    assert check("tfds_davis", "train", records, thorough=True) == []


def test_records_are_prepared_with_flow_as_files_are(davis, tmp_path):
    for name, root in zip(("davis2017", "tfds_davis"), davis, strict=True):
        prepare(
            name, root, tmp_path / "data", splits=["train"], flow="dis", progress=False
        )
    expected = open_source("davis2017", "train", tmp_path / "data")
    source = open_source("tfds_davis", "train", tmp_path / "data")
    assert list(source.has_flow) == list(expected.has_flow) and any(source.has_flow)
    assert_same_examples(source, expected, flow=True)
    with pytest.raises(InputError, match=r"the option flow is .*, expected None"):
        prepare("tfds_davis", davis[1], tmp_path / "x", flow=tmp_path)


def youtube_vis(name, tracks, count=4):
    """A video; a track is the numbers of its frames, and whether it is a crowd."""
    return {
        "video": [io.BytesIO(encode_png(layouts.frame(i))) for i in range(count)],
        "metadata": {
            "height": layouts.truth(0).shape[0],
            "width": layouts.truth(0).shape[1],
            "num_frames": count,
            "video_name": name,
        },
        "tracks": {
            "segmentations": {
                "ragged_flat_values": [
                    io.BytesIO(encode_png(mask(t, i)))
                    for t, (frames, _) in enumerate(tracks)
                    for i in frames
                ],
                "ragged_row_lengths_0": [len(frames) for frames, _ in tracks],
            },
            "frames": {
                "ragged_flat_values": [i for frames, _ in tracks for i in frames],
                "ragged_row_lengths_0": [len(frames) for frames, _ in tracks],
            },
            "category": [3] * len(tracks),
            "is_crowd": [is_crowd for _, is_crowd in tracks],
        },
    }


def mask(track, frame):
    drawn = np.zeros_like(layouts.truth(0))
    drawn[track * 4 : track * 4 + 3, frame : frame + 5] = 1
    return drawn


def test_tracks_of_youtube_vis_are_objects_of_the_frames_that_they_are_in(tmp_path):
    videos = [
        youtube_vis("one", [([0, 2], False), ([2], False), ([2, 3], True)]),
        youtube_vis("none", []),
        youtube_vis("two", [([1], False)]),
    ]
    config = "only_frames_with_labels"
    build(tmp_path, "youtube_vis", config, YOUTUBE_VIS, videos)
    source = open_source("tfds_youtube_vis", "train", tmp_path)
    assert source.sequences == {"one": range(3), "two": range(3, 4)}
    names = [source[i].name for i in range(4)]
    assert names[1] == "tfds_youtube_vis/one/00002" and names[3].endswith("two/00001")
    example = source[1]
    assert example.ids.tolist() == [1, 2, 3]
    assert example.ignore.tolist() == [False, False, True]
    assert_array_equal(example.masks, [mask(t, 2) != 0 for t in range(3)])
    assert_array_equal(example.image, layouts.frame(2))
    # The next frame is that of the video, annotated or not.
    assert source.next_image(0) == encode_png(layouts.frame(1))
    assert source.next_image(2) is None


def test_what_cannot_be_read_is_said(davis, tmp_path):
    _, records = davis
    for name, split, root, message in (
        ("tfds_coco", "train", records, "has no masks: read COCO's files, as 'coco'"),
        ("tfds_davis", "val", records, r"davis-validation\.array_record-\*;"),
        ("tfds_davis", "train", tmp_path, "expected davis/480p/VERSION/dataset_info"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(name, split, root)
    folder = records / "davis" / "480p" / "1.0.0"
    other = shutil.copytree(folder, tmp_path / "other")
    info = json.loads((other / "dataset_info.json").read_text())
    text = json.dumps(info | {"fileFormat": "tfrecord"})
    (other / "dataset_info.json").write_text(text)
    with pytest.raises(InputError, match="are of the format 'tfrecord', expected"):
        open_source("tfds_davis", "train", other)
    file = next(folder.glob("*record-00001*"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    [problem] = check("tfds_davis", "train", records)
    assert "cannot be opened" in problem or "record 1 is damaged" in problem
