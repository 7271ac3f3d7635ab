"""Steps are planned without data, and compile for devices that are not here."""

import dataclasses
import re
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from movseg_jax.config_files import config_functions, load_config, with_fields
from movseg_jax.data.sampling import get_buckets
from movseg_jax.errors import InputError
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.parameters import parameter_shapes
from movseg_jax.train.plan import describe_plan, trace_step
from tests.test_train_loop import make_config

PAPER = Path(__file__).parents[1] / "configs" / "paper.py"
every_stage = pytest.mark.parametrize("stage", config_functions(PAPER))
ELSEWHERE = ("tpu", "cuda")


def numbers(pattern, text):
    return [float(number) for number in re.search(pattern, text).groups()]


@pytest.mark.slow
def test_the_plan_counts_devices_parameters_and_memory():
    config = with_fields(
        make_config(frozen=("appearance/*",)), {"model.static_branch": True}
    )
    said = describe_plan(config)
    assert f"devices: {jax.device_count()} (cpu)" in said
    shapes = parameter_shapes(config.model)
    trained, frozen = numbers(r"(\S+) million .* (\S+) million are frozen", said)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert trained + frozen == pytest.approx(count / 1e6, abs=2e-3)
    here = sum(
        leaf.size
        for part in ("appearance", "static")  # No loss trains the static branch.
        for leaf in jax.tree.leaves(shapes[part])
    )
    assert frozen == pytest.approx(here / 1e6, abs=1e-3)
    complete, before, during = numbers(
        r"(\S+) GiB on .*: (\S+) for .*, (\S+) while", said
    )
    assert complete == pytest.approx(before + during, abs=0.02)
    assert numbers(r"(\S+) GFLOP", said)[0] > 0


def test_a_batch_that_the_devices_cannot_share_is_refused():
    config = make_config()
    data = dataclasses.replace(config.data, batch_size=3)
    with pytest.raises(InputError, match="multiple of 4"):
        describe_plan(dataclasses.replace(config, data=data))


def test_parts_of_a_batch_that_would_differ_in_size_are_refused():
    config = make_config(microbatches=3)
    with pytest.raises(InputError, match=r"microbatches is 3, .* each device has 1 ex"):
        describe_plan(config)


@every_stage
@pytest.mark.slow
def test_a_stage_of_the_paper_lowers_for_tpu_and_cuda(stage):
    config = load_config(f"{PAPER}:{stage}")
    height, width = size = get_buckets(config.data, config.model)[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The jitted function .* includes a pmap")
        step = trace_step(config, size).lower(lowering_platforms=ELSEWHERE).as_text()
    assert "callback" not in step and "outfeed" not in step
    state = parameter_shapes(config.model)
    given_away = step.count("tf.aliasing_output") + step.count("jax.buffer_donor")
    assert given_away >= len(jax.tree.leaves(state))
    frame = np.zeros((height, width, 3), np.uint8)
    flow = np.zeros((height, width, 2), np.float32)
    sees_motion = config.model.motion is not None
    inputs = stack([make_inputs(frame, flow if sees_motion else None, config.model)])
    variables = {"params": state}
    forward = jax.jit(Detector(config.model).apply)
    exported = jax.export.export(forward, platforms=ELSEWHERE)(variables, inputs)
    assert exported.platforms == ELSEWHERE
