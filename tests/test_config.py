import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movseg_jax.config import (
    CONVENTIONS,
    MIN_FRAMES,
    MIN_MOTION,
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TargetConfig,
    TrainConfig,
    TrunkConfig,
)
from movseg_jax.config_files import (
    config_functions,
    describe_configs,
    load_config,
    with_fields,
)
from movseg_jax.config_json import from_json, to_json
from movseg_jax.errors import InputError
from movseg_jax.flow.object_motion import KNOWN_SHARE, LIKELY_SHARE
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.track.moving import UNCERTAIN, UNCERTAIN_SHARE

ROOT = Path(__file__).parents[1]
CONFIGS = [
    f"{file}:{name}"
    for file in sorted((ROOT / "configs").glob("*.py"))
    for name in config_functions(file)
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: Path(path).name)
def test_every_config_file_loads_and_survives_json(path):
    config = load_config(path)
    assert from_json(Config, to_json(config)) == config
    assert config_functions(path.rpartition(":")[0])[path.rpartition(":")[2]].__doc__


def test_the_paper_s_final_model():
    config = load_config(ROOT / "configs" / "paper.py:joint_davis").model
    assert config.streams == ("appearance", "motion")
    assert config.fusion == "concat_convs"
    assert config.rpn_features == config.box_features == "fused"
    assert config.mask_features == "appearance"


trunks = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["v1", "v2"]),
        "depth": st.integers(1, 200),
        "norm": st.sampled_from(["affine", "group"]),
    }
)
models = st.fixed_dictionaries(
    {
        "convention": st.sampled_from(sorted(CONVENTIONS)),
        "min_score": st.floats(0, 1),
        "anchor_ratios": st.lists(st.floats(0.1, 10), min_size=1).map(tuple),
    }
)


@given(models, trunks, st.none() | trunks)
def test_json_is_lossless(fields, appearance, motion):
    trunk = TrunkConfig(**motion) if motion else None
    config = ModelConfig(appearance=TrunkConfig(**appearance), motion=trunk, **fields)
    assert from_json(ModelConfig, to_json(config)) == config


numbers = st.floats(0, 1)
options = st.lists(st.tuples(st.text(), st.text() | st.booleans())).map(tuple)
sources = st.fixed_dictionaries(
    {"name": st.text(), "weight": st.floats(0.01, 10), "options": options},
    optional={"split": st.text(), "ignore_resting": st.booleans()},
)
augmentations = st.fixed_dictionaries(
    {"flip": numbers, "scale": st.tuples(st.floats(0.1, 1), st.floats(1, 9))},
    optional={"paste": numbers, "contrast": numbers, "brightness": numbers},
)
sides = st.integers(1, 9).map(lambda n: 32 * n)
datas = st.fixed_dictionaries(
    {"batch_size": st.integers(1, 99), "workers": st.integers(0, 9)},
    optional={
        "buckets": st.lists(st.tuples(sides, sides), unique=True).map(tuple),
        "on_damaged": st.sampled_from(["raise", "skip"]),
        "max_damaged": st.integers(0, 9),
    },
)


@given(datas, st.lists(sources, max_size=3), augmentations, st.integers(0, 2**40))
def test_json_of_data_is_lossless(fields, sources, augment, seed):
    data = DataConfig(
        sources=tuple(SourceConfig(**source) for source in sources),
        augment=AugmentConfig(**augment),
        **fields,
    )
    config = Config(data=data, seed=seed)
    assert from_json(Config, to_json(config)) == config


@pytest.mark.parametrize(
    "change, message",
    [
        ({"augment": {"scale": [1.0, 2.0, 3.0]}}, "scale: expected"),
        ({"augment": {"flip": 2}}, "AugmentConfig.flip is 2.0, expected 0 to 1"),
        ({"sources": [{"weight": 1.0}]}, "SourceConfig needs a 'name'"),
        ({"sources": {"name": "a"}}, "sources: expected tuple"),
        (
            {"sources": [{"name": "a", "options": [["b", 3.5]]}]},
            "options: expected str",
        ),
        ({"buckets": [[32]]}, "buckets: expected tuple"),
        ({"buckets": [[32, 33]]}, "multiples of 32 pixels"),
        ({"on_damaged": "ignore"}, "expected one of 'raise', 'skip'"),
    ],
)
def test_a_wrong_field_of_data_is_an_input_error_that_names_it(change, message):
    with pytest.raises(InputError, match=message):
        from_json(DataConfig, json.dumps(change))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"depht": 50}, "ModelConfig has no field 'depht'"),
        ({"channels": "many"}, "config.channels: expected int, got 'many'"),
        ({"channels": 1.5}, "config.channels: expected int"),
        ({"classes": True}, "config.classes: expected int"),
        ({"static_branch": 1}, "config.static_branch: expected bool"),
        ({"appearance": {"version": "v3"}}, "expected one of 'v1', 'v2', got 'v3'"),
        ({"appearance": 7}, "config.appearance: expected an object"),
        ({"convention": "metric"}, "No convention 'metric'"),
        ({"appearance": None, "motion": None}, "needs `appearance`"),
    ],
)
def test_a_wrong_field_is_an_input_error_that_names_it(change, message):
    fields = dataclasses.asdict(ModelConfig()) | change
    with pytest.raises(InputError, match=message):
        from_json(ModelConfig, json.dumps(fields))


@given(st.text() | st.binary().map(lambda b: b.decode("latin1")))
def test_text_that_is_no_config_is_an_input_error(text):
    try:
        from_json(ModelConfig, text)
    except InputError:
        return
    assert json.loads(text) == {}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: TrunkConfig(last_level=6), "last_level is 6, expected 2 to 5"),
        (lambda: TrunkConfig(width=0), "TrunkConfig.width is 0, expected at least 1"),
        (lambda: ModelConfig(proposals=-1), "ModelConfig.proposals is -1"),
        (lambda: DataConfig(batch_size=0), "batch_size is 0, expected at least 1"),
        (lambda: DataConfig(workers=-1), "workers is -1, expected at least 0"),
        (lambda: DataConfig(buckets=((32, 31),)), "multiples of 32 pixels"),
        (lambda: DataConfig(buckets=((0, 32),)), "multiples of 32 pixels"),
        (lambda: DataConfig(buckets=((32, 32),) * 2), "repeats a size"),
        (lambda: SourceConfig("a", weight=0.0), "of 'a' is 0.0, expected more than 0"),
        (lambda: SourceConfig("a", weight=float("nan")), "expected a finite number"),
        (lambda: AugmentConfig(hue=0.6), "AugmentConfig.hue is 0.6, expected 0 to 0.5"),
        (lambda: AugmentConfig(scale=(0.0, 1.0)), "both more than 0"),
        (lambda: AugmentConfig(scale=(2.0, 1.0)), r"\(smallest, largest\)"),
        (lambda: AugmentConfig(scale=(1.0, float("inf"))), r"\(smallest, largest\)"),
        (lambda: AugmentConfig(paste=float("nan")), "expected a finite number"),
        (lambda: TrainConfig(ema_decay=1.0), "ema_decay is 1.0, expected 0 to"),
        (lambda: TrainConfig(ema_decay=-0.5), "ema_decay is -0.5, expected 0 to"),
        (lambda: OptimizerConfig(learning_rate=-1.0), "expected at least 0"),
        (lambda: OptimizerConfig(momentum=1.5), "momentum is 1.5, expected 0 to 1"),
        (lambda: TargetConfig(roi_positive_fraction=0.0), "expected 0.001 to 1"),
        (lambda: TargetConfig(roi_positive_fraction=1.5), "expected 0.001 to 1"),
        (lambda: TargetConfig(anchor_negative_iou=0.8), "at most anchor_positive_iou"),
        (lambda: Config(seed=-1), "Config.seed is -1, expected at least 0"),
    ],
)
def test_a_wrong_value_is_an_input_error_in_python_too(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        ("TrunkConfig(norm='batch')", "is 'batch', expected one of 'affine', 'group'."),
        ("ModelConfig(channels=None)", "is None, expected a whole number."),
        ("ModelConfig(channels=9.5)", "is 9.5, expected a whole number."),
        ("ModelConfig(channels=True)", "is True, expected a whole number."),
        ("ModelConfig(anchor_size='4')", "is '4', expected a number."),
        ("ModelConfig(static_branch='no')", "is 'no', expected True or False."),
        ("ModelConfig(fusion=None)", "is None, expected text."),
        ("ModelConfig(motion='rgb')", "is 'rgb', expected a TrunkConfig or None."),
        ("ModelConfig(anchor_ratios=(1, '2'))", "is (1, '2'), expected a number."),
        ("TrainConfig(frozen='appearance/*')", "is 'appearance/*', expected a tuple."),
        ("TrainConfig(start=None)", "is None, expected a StartConfig."),
        ("SegmentConfig(min_frames='6')", "is '6', expected a whole number."),
        ("SegmentConfig(min_motion=[])", "is [], expected a number or None."),
        ("SegmentConfig(save='coco')", "is 'coco', expected a tuple."),
        ("AugmentConfig(scale=(1.0,))", "is (1.0,), expected 2 values."),
    ],
)
def test_a_value_of_another_kind_is_an_input_error_in_python_too(make, message):
    # In a process of its own: here, beartype would be faster.
    modules = ("movseg_jax.config", "movseg_jax.segment.settings")
    code = "\n".join([*(f"from {name} import *" for name in modules), make])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    name = make.partition("=")[0].replace("(", ".")
    assert f"InputError: {name} {message}" in result.stderr


def test_deep_json_is_an_input_error():
    with pytest.raises(InputError, match="not JSON"):
        from_json(ModelConfig, "[" * 100_000)


def test_config_files_that_are_missing_or_empty_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        load_config(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match="defines no function that returns a `Config`"):
        load_config(tmp_path / "empty.py")


HEAD = "from movseg_jax.config import Config\nfrom pathlib import Path\n"


def test_a_config_is_a_function_of_its_file(tmp_path):
    def write(text):
        file.write_text(HEAD + text)

    file = tmp_path / "all.py"
    two = "def one(): return Config(seed=1)\ndef two(): return Config(seed=2)\n"
    write(two)
    assert load_config(f"{file}:two") == Config(seed=2)
    with pytest.raises(InputError, match=r"several configs.*all.py:one; .* one, two"):
        load_config(file)
    with pytest.raises(InputError, match="no config 'three'; expected one of one, two"):
        load_config(f"{file}:three")
    write(f"{two}def all(): return one()\n")
    assert load_config(file) == Config(seed=1)
    # Config files of release 0.1.0.
    write("def helper(): return 3\ndef get_config(): return Config(seed=helper())\n")
    assert load_config(file) == Config(seed=3)
    write("def _helper(): return 4\ndef only(): return Config(seed=_helper())\n")
    assert load_config(file) == Config(seed=4)
    write("def only(): return 5\n")
    with pytest.raises(InputError, match=r"only\(\) returns no `Config`, but 5"):
        load_config(file)


def test_fields_change_at_any_depth_and_at_once():
    # Either change alone would be refused.
    config = with_fields(
        Config(model=ModelConfig(mask_features="appearance")),
        {"model.appearance": None, "model.mask_features": "motion", "train.steps": 7},
    )
    assert config.model.streams == ("motion",) and config.train.steps == 7
    assert with_fields(config, {}) == config
    assert with_fields(config, {"data.batch-size": 8}).data.batch_size == 8


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"train.step": 3}, "TrainConfig has no field 'step'; did you mean 'steps'"),
        ({"data.validation.split": "val"}, "split: a field of None, which has none"),
        ({"seed.more": 1}, "more: a field of 0, which has none"),
    ],
)
def test_fields_that_are_not_there_are_an_input_error(fields, message):
    with pytest.raises(InputError, match=message):
        with_fields(Config(), fields)


def test_a_config_file_imports_what_is_beside_it(tmp_path):
    (tmp_path / "beside_this_config.py").write_text("SEED = 5\n")
    file = tmp_path / "all.py"
    text = "from beside_this_config import SEED\ndef all(): return Config(seed=SEED)\n"
    file.write_text(HEAD + text)
    before = [*sys.path]
    assert load_config(file) == Config(seed=5)
    assert sys.path == before


@pytest.mark.parametrize(
    "text, message",
    [
        ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_th"),
        ("def all(: return 1\n", "SyntaxError"),
        ("def all(): return 1 / 0\n", "ZeroDivisionError"),
        ("def all(): return Config(seed=-1)\n", "Config.seed is -1"),
    ],
)
def test_a_config_file_with_an_error_is_an_input_error(tmp_path, text, message):
    file = tmp_path / "all.py"
    file.write_text(HEAD + text)
    with pytest.raises(InputError, match=message):
        load_config(file)


def test_what_makes_a_track_is_the_same_in_the_texts_as_in_the_code():
    count = ["no", "one", "two", "three", "four", "five", "six", "seven"][MIN_FRAMES]
    motion = f"faster than {MIN_MOTION} pixels a frame"
    more = UNCERTAIN * MIN_FRAMES
    rule = f"in at least {count} frames, or less certainly in at least {more}"
    known, likely = round(100 * KNOWN_SHARE), round(100 * LIKELY_SHARE)
    assert UNCERTAIN_SHARE == 0.5
    expected = {
        "README.md": [rule],
        "docs/segmenting.md": [
            f"in at least {count} frames",
            motion,
            "three times as many frames",
            "at least half of the frames",
            f"up to {likely} % of the surroundings instead of {known} %",
        ],
        "docs/troubleshooting.md": [rule],
        "docs/method.md": [rule],
        "docs/results.md": [
            f"in {count} frames, {motion}",
            f"or less certainly in {more}",
        ],
        "movseg_jax/segment/settings.py": [f"{MIN_MOTION}, or 0 if"],
    }
    for file, phrases in expected.items():
        text = " ".join((ROOT / file).read_text().split())
        for phrase in phrases:
            assert phrase in text, f"{file} does not say {phrase!r}"
    assert SegmentConfig().min_frames == MIN_FRAMES


def test_configs_of_the_package_are_known_by_name():
    assert load_config("tiny") == load_config(ROOT / "configs" / "tiny.py")
    assert load_config("paper:joint_davis").model.fusion == "concat_convs"
    with pytest.raises(InputError, match="no such config file; those of the package"):
        load_config("nothing")
    text = describe_configs()
    assert "tiny\n    Two narrow streams" in text and "finetune" in text
    assert "Cost: some minutes on two CPU cores." in text
