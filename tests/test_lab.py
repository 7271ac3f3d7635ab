"""The fusion lab: arms, intervals, costs, results, and a lab from scenes to table."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image
from scipy import stats

from movseg_jax.cli import app, fusion_lab
from movseg_jax.config_files import load_config, with_fields
from movseg_jax.errors import InputError
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.train import lab
from movseg_jax.train.cost import Cost, measure_cost
from movseg_jax.train.lab_results import Arm, LabResults, Trained, mean_interval
from movseg_jax.train.lab_settings import LabConfig
from movseg_jax.train.loop import Outcome

SIZE = (96, 160)
SCENE = SceneConfig(frames=2, size=(64, 96), nothing_moves=0.0)


# Arms --------------------------------------------------------------------------------


def test_an_arm_is_a_fusion_or_a_variant():
    base = load_config("lab")
    assert lab.make_arm("gated") == with_fields(base, {"model.fusion": "gated"})
    assert lab.make_arm("motion").model.streams == ("motion",)
    assert lab.make_arm("appearance").model.streams == ("appearance",)
    model = lab.make_arm("motion_boxes").model
    features = (model.rpn_features, model.box_features, model.mask_features)
    assert features == ("motion", "motion", "fused")


@pytest.mark.parametrize("base", ["tiny", "lab", "paper:joint_davis", "finetune"])
@pytest.mark.parametrize("name", ["sum", *lab.VARIANTS])
def test_every_variant_can_be_made_of_every_joint_config(name, base):
    assert not lab.make_arm(name, load_config(base)).model.static_branch


def test_an_unknown_arm_is_named_with_what_there_is():
    with pytest.raises(InputError, match=r"magic.*gated.*motion_boxes"):
        lab.make_arm("magic")


@pytest.mark.parametrize(
    "text, label, name, settings",
    [
        ("gated", "gated", "gated", []),
        ("my_fusions:Mine", "my_fusions:Mine", "my_fusions:Mine", []),
        ("mine=my_fusions:Mine", "mine", "my_fusions:Mine", []),
        ("a=sum --model.channels 8", "a", "sum", ["--model.channels", "8"]),
        ("a=sum --model.channels=8", "a", "sum", ["--model.channels=8"]),
    ],
)
def test_the_text_of_an_arm_is_a_name_or_has_a_label(text, label, name, settings):
    assert fusion_lab.parse_arm(text) == (label, name, settings)


@pytest.mark.parametrize(
    "text", ["", " ", "=sum", "a=", "a= sum", "sum --model.channels 8", "a='sum",
             "--model.channels=8", "a=--model.channels 8"],
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(InputError, match="neither a name nor of the form"):
        fusion_lab.parse_arm(text)


def test_settings_of_the_command_apply_to_all_arms_and_those_of_an_arm_to_it(
    monkeypatch, tmp_path, capsys
):
    seen = {}

    def run_lab(arms, out, config, **options):
        seen.update(arms=arms, config=config)

    monkeypatch.setattr(lab, "run_lab", run_lab)
    wide = "wide=sum --model.channels 64"
    arguments = ["fusion-lab", "gated", wide, "--out", str(tmp_path), "--seeds", "5"]
    with pytest.raises(SystemExit) as exit:  # Without results it was stopped.
        app.main([*arguments, "--train.steps", "7"])
    assert exit.value.code == 75 and "start it again" in capsys.readouterr().out
    arms = seen["arms"]
    assert list(arms) == ["gated", "wide"] and seen["config"].seeds == 5
    assert [arm.train.steps for arm in arms.values()] == [7, 7]
    assert [arm.model.channels for arm in arms.values()] == [32, 64]
    assert [arm.model.fusion for arm in arms.values()] == ["gated", "sum"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["sum", "sum"], "Two arms are named sum"),
        (["magic"], "No fusion 'magic'"),
        ([], "arm"),
        (["sum", "--seeds", "0"], "--seeds is 0"),
        (["sum", "--scene.frames", "1"], "--scene.frames is 1"),
        (["sum", "--train.stepz", "1"], "--train.stepz"),
        (["a/b=sum"], "An arm is named 'a/b'"),
        (["a.b=sum", "a:b=gated"], "Two arms share the folder"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, tmp_path, capsys):
    status = app.main(["fusion-lab", *arguments, "--out", str(tmp_path / "lab")])
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "lab").exists()


# Intervals ---------------------------------------------------------------------------


def test_the_interval_is_students():
    values = [0.3, 0.5, 0.45, 0.41]
    interval = mean_interval(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval is not None and interval.mean == pytest.approx(np.mean(values))
    assert_allclose(interval[1:], expected)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(2.0, 3.0, (2000, 3))
    found = [mean_interval(row.tolist(), 0.8) for row in draws]
    hits = [i is not None and i.low <= 2.0 <= i.high for i in found]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.03)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert mean_interval([0.25]) == (0.25, None, None)
    assert mean_interval([]) is None


# Costs -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_cost_of_the_papers_fusion_is_that_of_its_convolutions():
    config = lab.make_arm("concat_convs").model
    cost = measure_cost(config, SIZE)
    c = config.channels
    kernels = 9 * (2 * c * c + c * c + c * c)
    assert cost.fusion_parameters == kernels + 3 * c
    levels = [(SIZE[0] // 2**i, SIZE[1] // 2**i) for i in range(2, 6)]
    levels.append((2, 3))  # Level 6, of every second cell of level 5.
    cells = sum(height * width for height, width in levels)
    # XLA leaves out products with the zeros around a map.
    assert 0.85 < cost.fusion_flops / (2 * kernels * cells) < 1.0
    assert cost.parameters > cost.fusion_parameters
    assert cost.flops > cost.fusion_flops


@pytest.mark.slow
def test_a_fusion_that_no_head_uses_costs_nothing():
    fused = measure_cost(lab.make_arm("concat_convs").model, SIZE)
    config = with_fields(
        lab.make_arm("motion_boxes"), {"model.mask_features": "appearance"}
    )
    unused = measure_cost(config.model, SIZE)
    assert unused.fusion_parameters == unused.fusion_flops == 0
    assert unused.parameters == fused.parameters - fused.fusion_parameters
    assert unused.flops == pytest.approx(fused.flops - fused.fusion_flops, rel=0.01)


# Results -----------------------------------------------------------------------------


def make_results(*arms, seconds=0.5):
    config = LabConfig(seeds=len(arms[0]), scene=SCENE)
    found = []
    for i, values in enumerate(arms):
        models = [
            Trained(seed, f"runs/{i}/{seed}", dict.fromkeys(MEASURES, value), seconds)
            for seed, value in enumerate(values)
        ]
        found.append(Arm(f"arm{i}", Cost(1000, 10, 2e9, 1e8), tuple(models)))
    return LabResults(tuple(found), config)


MEASURES = ("mask_ap50", "box_ap50", "j")


def test_differences_are_taken_seed_by_seed():
    # Seeds differ much and arms little, so that only pairs show the difference.
    results = make_results([0.1, 0.5, 0.9], [0.15, 0.56, 0.94])
    change = results.difference(results.arms[1], "mask_ap50")
    assert change is not None and change.low > 0
    assert_allclose(change, mean_interval([0.05, 0.06, 0.04]), rtol=1e-6)


def test_the_table_has_a_row_for_each_arm_and_says_which_interval_it_is():
    table = make_results([0.1, 0.2], [0.3, 0.5]).table()
    head, _, first, second, _, change_head, _, change, *_ = table.splitlines()
    assert len({head.count("|"), first.count("|"), second.count("|")}) == 1
    low, high = (100 * end for end in mean_interval([0.3, 0.5])[1:])
    assert f"40.0 ({low:.1f} to {high:.1f})" in second
    assert "difference to arm0" in change_head and "+25.0" in change
    assert "seeds (2)" in table and "Student's 95% t-interval" in table


def test_what_could_not_be_measured_is_left_empty_in_all_files():
    results = make_results([None, 0.2], [0.1, 0.2])
    files = results.files()
    numbers = json.loads(files[".json"])
    assert numbers["arms"][0]["measures"]["j"] is None
    assert numbers["arms"][1]["difference"]["j"] is None
    assert numbers["arms"][1]["measures"]["j"]["mean"] == pytest.approx(0.15)
    assert b"nan" not in b"".join([files[".json"], files[".md"]]).lower()
    assert files[".png"].startswith(b"\x89PNG")


def test_equal_results_give_equal_files():
    one, other = (make_results([0.1, 0.2], [0.3, 0.5]).files() for _ in range(2))
    assert one == other


def test_one_seed_gives_means_without_intervals():
    results = make_results([0.1], [0.3])
    assert "(" not in results.table().splitlines()[2]
    assert json.loads(results.files()[".json"])["arms"][0]["measures"]["j"] == {
        "mean": 0.1, "low": None, "high": None,
    }  # fmt: skip


# A lab -------------------------------------------------------------------------------


@pytest.fixture
def fake_training(monkeypatch):
    """Training that writes a log alone; which runs were trained, and how to stop it."""
    trained, stop_after = [], []

    def train(config, workdir, sources, validation, *, quiet, progress):
        assert len(sources[0]) == len(validation) == 1
        if (workdir / "log.jsonl").exists():
            return Outcome(True, "")
        if stop_after and len(trained) >= stop_after[0]:
            return Outcome(False, "")
        trained.append((workdir.parent.name, config.seed))
        workdir.mkdir(parents=True)
        progress(1, config.train.steps)
        score = 0.1 * (1 + config.seed) + 0.5 * (config.model.fusion == "gated")
        rows = [
            {"step": 1, "loss": 1.0, "images_per_second": 8.0},
            {"step": 1, "kind": "evaluation"} | dict.fromkeys(MEASURES, score),
        ]
        (workdir / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return Outcome(True, "")

    monkeypatch.setattr(lab, "train", train)
    monkeypatch.setattr(lab, "measure_cost", lambda *_: Cost(1000, 10, 2e9, 1e8))
    return trained, stop_after


SMALL = LabConfig(seeds=2, clips=1, held_out=1, scene=SCENE)


def test_a_lab_that_was_stopped_resumes_and_seeds_can_be_added(fake_training, tmp_path):
    trained, stop_after = fake_training
    stop_after.append(3)
    assert lab.run_lab(["sum", "gated"], tmp_path, SMALL, quiet=True) is None
    assert trained == [("sum", 0), ("gated", 0), ("sum", 1)]
    stop_after.clear()
    results = lab.run_lab(["sum", "gated"], tmp_path, SMALL, quiet=True)
    assert trained[3:] == [("gated", 1)]
    assert results is not None
    assert results.arms[1].values("j") == pytest.approx([0.6, 0.7])
    assert results.arms[1].seconds_per_step == 0.5
    more = dataclasses.replace(SMALL, seeds=3)
    assert lab.run_lab(["gated"], tmp_path, more, quiet=True) is not None
    assert trained[4:] == [("gated", 2)]
    with Image.open(tmp_path / "results.png") as picture:
        assert picture.width > picture.height


def test_other_scenes_and_other_folders_are_refused(fake_training, tmp_path):
    assert lab.run_lab(["sum"], tmp_path / "lab", SMALL, quiet=True)
    other = dataclasses.replace(SMALL, held_out=2)
    with pytest.raises(InputError, match=r"other scenes \(held_out was 1, is 2\)"):
        lab.run_lab(["sum"], tmp_path / "lab", other, quiet=True)
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(InputError, match=r"is not empty, and has no lab\.json"):
        lab.run_lab(["sum"], tmp_path, SMALL, quiet=True)


def test_a_fusion_whose_code_has_changed_needs_a_new_name(
    fake_training, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    file = tmp_path / "lab_fusions.py"
    for code in ("a + m", "a - m"):
        file.write_text(f"def mine(a, m):\n    return {code}  # {code}\n")
        sys.modules.pop("lab_fusions", None)
        arms = {"mine": lab.make_arm("lab_fusions:mine")}
        if code == "a + m":
            assert lab.run_lab(arms, tmp_path / "lab", SMALL, quiet=True)
    with pytest.raises(InputError, match=r"other code of lab_fusions:mine"):
        lab.run_lab(arms, tmp_path / "lab", SMALL, quiet=True)
