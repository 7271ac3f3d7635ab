"""Training one stage: from a config and data to checkpoints, resumable to the bit.

A run's folder holds `config.json`, `checkpoints/`, `log.jsonl`, `best.safetensors` if
it evaluates and, once it is finished, `weights.safetensors`. A run that is started
again resumes from its last good checkpoint; on a CPU the result is the same, bit for
bit, as without the stop.
"""

import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from movseg_jax.config import Config
from movseg_jax.config_json import from_json, to_json
from movseg_jax.data.example import Source
from movseg_jax.data.loader import Loader
from movseg_jax.errors import InputError
from movseg_jax.model.detector import Detector
from movseg_jax.model.parameters import parameter_shapes, run_key
from movseg_jax.model.weights import RUN_WEIGHTS
from movseg_jax.system.devices import start_devices
from movseg_jax.system.stopping import StopRequest
from movseg_jax.train import freezing, parallel
from movseg_jax.train.checkpoints import CHECKPOINTS, Checkpoints, CheckpointWarning
from movseg_jax.train.evaluating import Evaluation
from movseg_jax.train.initialise import start
from movseg_jax.train.log import Log
from movseg_jax.train.objective import detection_losses
from movseg_jax.train.optimizers import make_optimizer, make_schedule
from movseg_jax.train.run_sources import check_validation
from movseg_jax.train.run_weights import BestWeights, best_params, write_weights
from movseg_jax.train.step import Step, TrainState
from movseg_jax.train.workdir import Workdir, claimed, open_workdir

# The config of a run with checkpoints cannot be changed, and the same run would fail at
# the same step.
REMEDY = (
    "Start another run, in another folder, with a lower "
    "train.optimizer.learning_rate, a longer warm-up or a clip_norm; it may start "
    "from this run's last checkpoint, with its folder as train.start.weights."
)


class Outcome(NamedTuple):
    """The end of a run.

    Attributes:
        finished: False if it was asked to stop and can be started again.
        report: A sentence to print.
    """

    finished: bool
    report: str


class Stage(NamedTuple):
    """The parts of a config's training.

    Attributes:
        step: A function that runs a step on all devices:
            `(state, batch, key) -> (state, metrics)`.
        make_state: A function from parameters to the state to begin with.
        schedule: The learning rate at every step.
    """

    step: Callable
    make_state: Callable[[Any], TrainState]
    schedule: Callable


def make_stage(config: Config) -> Stage:
    """Wires model, losses, optimizer and devices together.

    Raises:
        InputError: What is frozen matches no parameter, or leaves nothing; or
            microbatches would differ in size.
    """
    settings = config.train
    targets = settings.targets
    model = dataclasses.replace(
        config.model,
        static_branch=False,
        pre_nms=targets.pre_nms,
        proposals=targets.proposals,
    )
    optimizer = make_optimizer(settings.optimizer, settings.steps)
    frozen = freezing.frozen_globs(config)
    mask = freezing.trains(parameter_shapes(config.model), frozen)
    part, rest = divmod(config.data.batch_size, jax.device_count())
    if not rest and part % settings.microbatches:
        raise InputError(
            f"train.microbatches is {settings.microbatches}, but each device has "
            f"{part} examples of a batch; expected a number that divides them."
        )
    detector = Detector(model, rematerialise=settings.rematerialise)
    step = Step(
        functools.partial(detection_losses, detector=detector, config=targets),
        optimizer,
        mask,
        ema_decay=settings.ema_decay,
        microbatches=settings.microbatches,
    )

    def make_state(params):
        trained, _ = freezing.split(params, mask)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(trained),
            # A copy, since every buffer of the state is donated.
            average=jax.tree.map(jnp.copy, trained) if settings.ema_decay else None,
        )

    schedule = make_schedule(settings.optimizer, settings.steps)
    return Stage(parallel.data_parallel(step, settings.parallel), make_state, schedule)


def train(
    config: Config,
    workdir: str | Path,
    sources: list[Source],
    validation: Source | None = None,
    *,
    quiet: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Starts or resumes training, until all steps are made or a signal comes.

    Args:
        config: The stage's config.
        workdir: The run's folder, made if it is missing; or the address of a folder in
            a bucket, such as "gs://bucket/run".
        sources: The data sets that `config.data.sources` names, in that order.
        validation: The data set to evaluate on: see `TrainConfig.evaluate_every`.
        quiet: Whether to print nothing.
        progress: A function to call after each step with its number and that of all.

    Raises:
        InputError: The folder is another run's, data or weights to start from cannot
            be read, a loss is not finite, the run's processes were given different
            configs or data, or JAX has no device.
    """
    start_devices()
    # As it will be read from the run's folder: fields have their types, not lists.
    config = from_json(Config, to_json(config), "the config")
    check_validation(config, validation)
    # Processes that differ would wait for each other without end, in different steps.
    parallel.check_same("config", to_json(config))
    with open_workdir(workdir) as place:
        return _train(config, place, sources, validation, quiet, progress)


def _train(config, place, sources, validation, quiet, progress):
    first, workdir = jax.process_index() == 0, place.path
    with contextlib.ExitStack() as stack:
        changes: tuple[str, ...] = ()
        if first:
            changes = stack.enter_context(claimed(workdir, config))
        parallel.barrier("claimed")
        stage = make_stage(config)
        steps, keep = config.train.steps, config.train.keep
        checkpoints = Checkpoints(workdir / CHECKPOINTS, keep, place.put)
        stack.enter_context(checkpoints)
        stop = stack.enter_context(StopRequest())
        state, extra, report = _begin(config, stage, checkpoints)
        done = int(state.step)
        if not parallel.agree(first and _is_finished(workdir, done, steps)):
            with (
                _open_loader(sources, config, extra) as loader,
                _open_log(workdir, config, done, active=first, quiet=quiet) as log,
            ):
                for line in (*report, *changes):
                    log.note(line)
                evaluation = best = None
                if validation is not None and config.train.evaluate_every and first:
                    evaluation = Evaluation(validation, config)
                    best = BestWeights(workdir, done)
                parts = (config, stage, checkpoints, loader, log)
                licence = extra.get("licence", "")
                run = _Run(*parts, evaluation, best, place, progress, licence)
                state, finished = run(state, stop)
            now = int(state.step)
            if not finished:
                report = f"{place.name}: stopped at step {now}; start it again."
                return Outcome(False, report)
            if first:
                write_weights(workdir, config, state, licence)
            return Outcome(True, f"{place.name}: finished, {now} steps.")
    return Outcome(True, f"{place.name}: finished already, {done} steps.")


def _is_finished(workdir, step, steps):
    """Whether nothing is left to do; the weights are written last."""
    return step >= steps and (workdir / RUN_WEIGHTS).exists()


def _open_loader(sources, config, extra):
    loader = Loader(
        sources,
        config.data,
        config.model,
        seed=config.seed,
        host_index=jax.process_index(),
        host_count=jax.process_count(),
    )
    parallel.check_same("data", loader.get_state()["order"])
    if "loader" in extra:
        loader.set_state(extra["loader"])
    return loader


def _open_log(workdir, config, step, **options):
    size = config.data.batch_size
    log = Log(workdir, step, steps=config.train.steps, batch=size, **options)
    log.note(parallel.describe_devices(size))
    return log


@dataclasses.dataclass
class _Run:
    """The steps of a run, and the objects they use.

    All processes have to agree on when to save and to stop, also those that do not
    evaluate: saving waits for all of them.
    """

    config: Config
    stage: Stage
    checkpoints: Checkpoints
    loader: Loader
    log: Log
    evaluation: Evaluation | None  # In the first process only.
    best: BestWeights | None  # In the first process only.
    place: Workdir
    progress: Callable[[int, int], object] | None
    licence: str  # Of the weights that the run started from.

    def __call__(self, state: TrainState, stop: StopRequest) -> tuple[TrainState, bool]:
        """Returns the state after the last step made, and whether nothing is left."""
        settings = self.config.train
        key = parallel.replicate(run_key(self.config.seed))
        number = int(state.step)
        before = None
        # The run may have ended between a checkpoint and the evaluation after it.
        if self._lacks_evaluation(number) and not self._evaluate(number, state, stop):
            return state, False
        while number < settings.steps:
            batch = next(self.loader)
            state, metrics = self.stage.step(state, batch, key)
            # Losses are fetched one step late: fetching waits for the device, which by
            # now computes the next step.
            if before is not None:
                self._check(number, before)
            number += 1
            before = metrics
            self.log.advance(number)
            self.place.put_log()
            if self.progress is not None:
                self.progress(number, settings.steps)
            last = number == settings.steps
            stopping = self._is_stopping(number, stop)
            if number % settings.log_every == 0 or last:
                self._check(number, metrics)
                rate = float(self.stage.schedule(number - 1))
                self.log.write(
                    number, jax.device_get(metrics) | {"learning_rate": rate}
                )
            evaluates = self._evaluates_after(number)
            due = number % settings.save_every == 0
            if due or evaluates or last or stopping:
                self._check(number, metrics)
                if not _all_finite(state.params):
                    raise InputError(
                        f"The parameters after step {number} are not finite. {REMEDY}"
                    )
                with self.log.pause():
                    # The log first: a checkpoint must not be ahead of its rows.
                    self.log.sync()
                    extra = {"loader": self.loader.get_state(), "licence": self.licence}
                    self.checkpoints.save(number, state, extra)
            if stopping:
                # An evaluation that is due is made when the run is started again.
                return state, last and not evaluates
            if evaluates and not self._evaluate(number, state, stop):
                return state, False
        return state, True

    def _evaluates_after(self, number):
        every, steps = self.config.train.evaluate_every, self.config.train.steps
        return every > 0 and number > 0 and (number % every == 0 or number == steps)

    def _lacks_evaluation(self, number):
        """Whether the evaluation after this step is missing, in the first process."""
        lacks = self._evaluates_after(number) and self.log.last_evaluation < number
        return parallel.agree(lacks and jax.process_index() == 0)

    def _is_stopping(self, number, stop):
        """Returns whether to stop after this step, the same in all processes.

        Agreeing costs a collective, so several processes agree only now and then.
        """
        alone = jax.process_count() == 1
        asks = alone or number % parallel.AGREE_EVERY == 0
        return asks and parallel.agree(stop.requested)

    def _check(self, number, metrics):
        """Raises an error if a loss or the gradient of step `number` is not finite."""
        metrics = jax.device_get(metrics)
        if math.isfinite(metrics["loss"]) and math.isfinite(metrics["gradient_norm"]):
            return
        losses = ", ".join(
            f"{name} {float(value):g}" for name, value in metrics.items()
        )
        names = ", ".join(self.loader.names(number - 1))
        raise InputError(
            f"The loss or gradient of step {number} is not finite: {losses}. Its "
            f"examples: {names}. {REMEDY}"
        )

    def _evaluate(self, number, state, stop):
        """Evaluates in the first process; False if that was stopped."""
        finished = True
        if self.evaluation is not None and self.best is not None:
            with self.log.pause():
                params = best_params(state)
                found = self.evaluation(params, lambda: stop.requested)
                finished = found is not None
                if found is not None:
                    metrics, pictures = found
                    # The row last: without it, the evaluation is made again.
                    self.best.offer(number, params, metrics, self.config, self.licence)
                    self.log.write_pictures(number, pictures)
                    self.log.write_evaluation(number, metrics)
        # Without this the others would wait inside a collective, which times out, while
        # the first process evaluates.
        parallel.barrier("evaluated")
        return not parallel.agree(not finished)


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _begin(config, stage, checkpoints):
    """The state to start or resume with, what was saved with it, and lines to log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CheckpointWarning)
        latest = checkpoints.latest_good()
    skipped = tuple(str(warning.message) for warning in caught)
    if latest is None:
        begun = start(config.model, config.train.start, config.seed)
        state = stage.make_state(jax.tree.map(jnp.asarray, begun.params))
        extra = {"licence": begun.licence}
        return parallel.replicate(state), extra, skipped + begun.report
    shapes = jax.eval_shape(stage.make_state, parameter_shapes(config.model))
    like = parallel.replicated_shapes(shapes)
    state, extra = checkpoints.restore(latest, like)
    return state, extra, (*skipped, f"Resumes from step {latest}.")
