"""The data sets of a training config: where they are read from, and what is refused."""

import pytest

from movseg_jax.config import Config, DataConfig, ModelConfig, SourceConfig, TrainConfig
from movseg_jax.data.building import prepare
from movseg_jax.data.prepared import PreparedSource
from movseg_jax.errors import InputError
from movseg_jax.train.run_sources import open_sources
from tests.fakes import layouts


def opened(data_dir, source, motion=True):
    model = ModelConfig() if motion else ModelConfig(motion=None)
    config = Config(model=model, data=DataConfig(sources=(source,)))
    (found,), validation = open_sources(config, data_dir)
    assert validation is None
    return found


def source_of(subset):
    return getattr(subset, "source", subset)


def test_what_was_prepared_is_preferred_to_the_original_beside_it(tmp_path):
    """As with `prepare --manual-dir data/davis2016 --data-dir data`."""
    layouts.davis2016(tmp_path / "davis2016", [("val", ("cows",)), ("train", ("bus",))])
    wanted = SourceConfig("davis2016", "val")
    original = opened(tmp_path, wanted, motion=False)
    assert not isinstance(source_of(original), PreparedSource)
    prepare("davis2016", tmp_path / "davis2016", tmp_path, splits=["val"],
            flow="farneback", progress=False)  # fmt: skip
    found = opened(tmp_path, wanted)
    assert isinstance(source_of(found), PreparedSource)
    assert [*found.has_flow] == [True] * 3
    # Another split is still that of the original.
    train = opened(tmp_path, SourceConfig("davis2016", "train"), motion=False)
    assert not isinstance(source_of(train), PreparedSource)


def test_a_data_set_without_flow_says_how_to_get_it(tmp_path):
    layouts.davis2016(tmp_path / "davis2016", [("val", ("cows",))])
    with pytest.raises(InputError, match=r"none of the 4 examples has.*--flow dis"):
        opened(tmp_path, SourceConfig("davis2016", "val"))


def test_frames_are_left_out_as_for_models_that_see_flow(tmp_path):
    layouts.davis2016(tmp_path / "davis2016", [("val", ("cows",))])
    skip = SourceConfig("davis2016", "val", skip_last=True)
    assert len(opened(tmp_path, skip, motion=False)) == 3
    # Of YouTube-VOS, each video goes on after its last annotated frame.
    layouts.youtube_vos(tmp_path / "youtube_vos", ["003234408d"])
    wanted = SourceConfig("youtube_vos", skip_last=True)
    found = opened(tmp_path, wanted, motion=False)
    prepare("youtube_vos", tmp_path / "youtube_vos", tmp_path, splits=["train"],
            flow="farneback", progress=False)  # fmt: skip
    with_flow = opened(tmp_path, wanted)
    names = [example.name for example in found]
    assert names == [example.name for example in with_flow] and len(names) == 2


def test_images_have_no_frame_that_is_the_last(tmp_path):
    layouts.coco(tmp_path / "coco")
    with pytest.raises(InputError, match="skip_last leaves out"):
        opened(tmp_path, SourceConfig("coco", "val", skip_last=True), motion=False)


def test_validation_is_opened_if_the_run_evaluates(tmp_path):
    layouts.davis2016(tmp_path / "davis2016", [("val", ("cows",))])
    source = SourceConfig("davis2016", "val")
    for every, count in ((0, None), (5, 4)):
        config = Config(
            model=ModelConfig(motion=None),
            data=DataConfig(sources=(source,), validation=source),
            train=TrainConfig(evaluate_every=every),
        )
        _, validation = open_sources(config, tmp_path)
        assert (None if validation is None else len(validation)) == count
