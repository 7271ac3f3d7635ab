"""The config files: what they freeze exists, and stages start from one another."""

import dataclasses
import functools
import itertools
from pathlib import Path

import jax
import pytest

from movseg_jax.config import Config, OptimizerConfig, StartConfig
from movseg_jax.config_files import config_functions, load_config, with_fields
from movseg_jax.config_json import from_json, to_json
from movseg_jax.data.sources import open_layout
from movseg_jax.model.parameters import parameter_shapes
from movseg_jax.model.weights import Weights, read_config
from movseg_jax.train.freezing import paths, trains
from movseg_jax.train.initialise import find
from movseg_jax.train.optimizers import make_schedule

CONFIGS = Path(__file__).parents[1] / "configs"
DOCSTRINGS = {
    f"{file.name}:{name}": function.__doc__ or ""
    for file in sorted(CONFIGS.glob("*.py"))
    for name, function in config_functions(file).items()
}
NAMES = list(DOCSTRINGS)
# Experiments on rendered scenes, which start from random parameters.
EXPERIMENTS = ("tiny.py:tiny", "lab.py:lab")
STAGES = [n for n in NAMES if n not in EXPERIMENTS]
# The folder of runs that a file's stages are written to.
RUNS = {
    "default.py": "runs/default",
    "default_ablations.py": "runs/default/ablations",
    "rendered.py": "runs/rendered",
}
every_config = pytest.mark.parametrize("name", NAMES)
every_stage = pytest.mark.parametrize("name", STAGES)
# Rows that differ from a stage, or another row, in nothing or in their data only.
SAME = {
    f"ablations.py:{row}": stage
    for row, stage in (
        ("t1_flownet2", "paper.py:motion_flyingthings3d_gt"),
        ("t1_flownet2_from_groundtruth", "paper.py:motion_flyingthings3d_estimated"),
        ("t1_liteflownet_from_groundtruth", "paper.py:motion_flyingthings3d_estimated"),
        ("t2_class_specific", "paper.py:appearance_coco_classes"),
        ("t2_objectness", "paper.py:appearance_coco"),
        ("t4_davis", "ablations.py:t3_freeze_mask"),
        ("t4_davis_from_ytvos_moving", "paper.py:joint_davis"),
    )
}

# Shapes of twenty full models, ten seconds in all.
pytestmark = pytest.mark.slow


@functools.cache
def load(name) -> Config:
    return load_config(CONFIGS / name)


def run_of(name):
    """The folder that a stage writes to, as its docstring says."""
    file, _, function = name.partition(":")
    return f"{RUNS.get(file, 'runs')}/{function}"


@functools.cache
def shapes_of(model):
    return parameter_shapes(model)


@functools.cache
def read(source) -> Weights:
    """What a stage leaves behind, as shapes; ImageNet's trunk has no FPN."""
    files = {
        "resnet50": "paper.py:appearance_coco",
        "resnet50v2": "default.py:appearance",
    }
    if source.startswith("weights/"):
        model = load(files[Path(source).stem]).model
        resnet = shapes_of(model)["appearance"]["resnet"]
        return Weights({"appearance": {"resnet": resnet}}, model, {}, "", source)
    if source == "bundled":
        model = read_config("bundled")
    else:
        model = load(next(name for name in STAGES if run_of(name) == source)).model
    return Weights(shapes_of(model), model, {}, "", source)


@functools.cache
def origins(name):
    """For each parameter, where it is from; and what was not used."""
    config = load(name)
    shapes = shapes_of(config.model)
    found, unused = find(config.model, config.train.start, shapes, read)
    every = paths(shapes)
    return {p: found[p][1] if p in found else "fresh" for p in every}, unused


def trained(name):
    config = load(name)
    mask = trains(shapes_of(config.model), config.train.frozen)
    pairs = zip(paths(mask), jax.tree.leaves(mask), strict=True)
    return {path for path, trains_it in pairs if trains_it}


def parts(names):
    return {name.split("/")[0] for name in names}


@every_config
def test_a_config_is_its_json(name):
    config = load(name)
    assert from_json(Config, to_json(config)) == config


@every_config
def test_what_is_frozen_exists_and_something_trains(name):
    assert trained(name)


@every_stage
def test_its_data_sets_exist_with_these_options(name):
    data = load(name).data
    for source in (*data.sources, data.validation):
        if source is not None:
            options = dict(source.options)
            layout = open_layout(source.name, source.split, CONFIGS, **options)
            assert layout.split == source.split
            assert options.keys() <= vars(layout).keys()


@every_stage
def test_nothing_random_is_frozen(name):
    from_where, _ = origins(name)
    frozen = from_where.keys() - trained(name)
    assert [path for path in frozen if from_where[path].startswith("fresh")] == []


@every_stage
def test_nothing_of_earlier_stages_is_lost(name):
    _, unused = origins(name)
    assert unused == []


@every_stage
def test_the_static_branch_stays_that_of_its_trunk(name):
    """No loss is taken of it; its appearance trunk stays as it was, or nearly."""
    if load(name).model.static_branch:
        assert "static" not in parts(trained(name))
        slow = ("appearance/*", 0.1) in load(name).train.optimizer.rates
        assert slow or "appearance" not in parts(trained(name))


@every_stage
def test_the_docstring_says_how_to_run_it(name):
    text = " ".join(DOCSTRINGS[name].replace("\\\n", " ").split())
    assert f"movseg train configs/{name} --workdir {run_of(name)} --data-dir" in text


@every_stage
def test_the_docstring_says_what_to_expect(name):
    """Or that nobody has run the stage or measured it."""
    words = ("Not run.", "Expected:", "Result", "not measured", "was not recorded")
    assert any(word in DOCSTRINGS[name] for word in words)


@every_stage
def test_schedules_are_over_before_their_stage_is(name):
    train = load(name).train
    optimizer = train.optimizer
    assert optimizer.warmup_steps < train.steps
    assert all(optimizer.warmup_steps < drop < train.steps for drop in optimizer.drops)


def test_streams_keep_the_norms_stem_and_second_stage_of_imagenet():
    for stream, name in (
        ("appearance", "paper.py:appearance_coco"),
        ("motion", "paper.py:motion_flyingthings3d_gt"),
    ):
        from_where, _ = origins(name)
        assert all(
            (path not in trained(name))
            == (
                path.startswith(f"{stream}/resnet/")
                and ("norm" in path or "/stem_" in path or "/stage2_" in path)
            )
            for path in from_where
        )
        given = {p for p in from_where if from_where[p].startswith("from")}
        assert given == {p for p in from_where if p.startswith(f"{stream}/resnet/")}


def test_the_joint_model_trains_fusion_rpn_and_box_head_only():
    expected = {"fusion", "rpn", "box_head"}
    for name in (
        "paper.py:joint_ytvos",
        "paper.py:joint_davis",
        "ablations.py:t3_freeze_mask",
    ):
        assert parts(trained(name)) == expected
    from_where, _ = origins("paper.py:joint_ytvos")
    assert {
        (path.split("/")[0], origin) for path, origin in from_where.items()
    } == {
        ("appearance", "from runs/appearance_coco"),
        ("motion", "from runs/motion_flyingthings3d_estimated"),
        ("fusion", "fresh"),
        ("rpn", "from runs/appearance_coco"),
        ("box_head", "from runs/appearance_coco"),
        ("mask_head", "from runs/appearance_coco"),
        ("static", "from runs/appearance_coco"),
    }  # fmt: skip


def test_each_row_of_table_3_freezes_one_part_more():
    rows = ("joint_objectness", "freeze_appearance", "freeze_motion", "freeze_mask")
    trainable = [trained(f"ablations.py:t3_{row}") for row in rows]
    for (before, after), part in zip(
        itertools.pairwise(trainable),
        ("appearance", "motion", "mask_head"),
        strict=True,
    ):
        assert after < before and parts(before - after) == {part}


def test_the_class_specific_row_gets_fresh_outputs_for_its_one_class():
    from_where, _ = origins("ablations.py:t3_joint_class_specific")
    changed = {
        path.rpartition("/")[0]
        for path, origin in from_where.items()
        if origin.startswith("fresh, since runs/appearance_coco_classes has")
    }
    assert changed == {"box_head/logits", "box_head/deltas", "mask_head/logits"}


@pytest.mark.parametrize(("row", "stage"), SAME.items())
def test_rows_that_repeat_another_are_equal_to_it(row, stage):
    """But for being measured, which a stage for general use is not."""
    config = load(stage)
    assert config == with_fields(
        load(row),
        {
            "data.validation": config.data.validation,
            "train.evaluate_every": config.train.evaluate_every,
        },
    )


@pytest.mark.parametrize("row", [n for n in NAMES if n.startswith("ablations.py:")])
def test_every_row_is_measured_on_the_validation_videos_of_davis(row):
    config = load(row)
    validation = config.data.validation
    assert (validation.name, validation.split) == ("davis2016", "val")
    assert dict(validation.options) == {"instances": True}
    # Models of flow never see the last frames, which have none.
    assert validation.skip_last or config.model.motion is not None
    assert 0 < config.train.evaluate_every < config.train.steps


def test_the_other_rows_differ():
    configs = {name: load(name) for name in STAGES if name not in SAME}
    assert len(set(configs.values())) == len(configs)


def test_coco_s_schedule_is_detectron_s():
    train = load("paper.py:appearance_coco").train
    optimizer = train.optimizer
    assert (load("paper.py:appearance_coco").data.batch_size, train.steps) == (
        16,
        90_000,
    )
    assert optimizer.drops == (60_000, 80_000)
    assert dataclasses.astuple(optimizer)[:4] == ("sgd", 0.02, 500, 1 / 3)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 1e-4)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_warm_up_ends_at_the_rate_after_its_steps(steps):
    config = OptimizerConfig(learning_rate=0.5, warmup_steps=steps, warmup_factor=0.2)
    rates = [float(make_schedule(config, 100)(step)) for step in range(steps + 2)]
    assert rates[steps:] == [0.5, 0.5]
    assert rates[:1] == ([0.5] if steps == 0 else [pytest.approx(0.1)])


def test_ablations_cover_the_tables():
    rows = [n.split(":")[1][:2] for n in NAMES if n.startswith("ablations.py:")]
    assert {table: rows.count(table) for table in sorted(set(rows))} == {
        "t1": 3,
        "t2": 2,
        "t3": 5,
        "t4": 3,
    }


def test_all_but_the_first_small_stages_start_from_something():
    fresh = {name for name in STAGES if load(name).train.start == StartConfig()}
    small = "default_ablations.py"
    assert fresh == {
        "rendered.py:appearance",
        "rendered.py:motion",
        "default.py:motion",
        *(f"{small}:{name}" for name in ("t1_true", "t1_estimated")),
        *(f"{small}:flow_{name}" for name in ("relative", "residual")),
    }
