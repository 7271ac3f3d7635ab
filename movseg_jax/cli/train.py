"""The command `movseg train`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import make_importable, optional, read_config
from movseg_jax.config import Config
from movseg_jax.config_json import to_json
from movseg_jax.errors import InputError
from movseg_jax.system.buckets import bucket_address
from movseg_jax.system.signals import STOPPED


@dataclasses.dataclass(frozen=True)
class Train:
    """Train one stage, or resume it.

    A run that is stopped by SIGTERM exits with status 75; the same command resumes it.
    Options such as --train.steps 100 set fields of the config; all of them are listed
    by `movseg train CONFIG --help`.

    Attributes:
        config: A config file and, if it has several, the name of one, such as
            my_config.py or my_configs.py:large; or a config that `movseg configs`
            lists, such as tiny or paper:joint_davis.
        workdir: Folder of the run, which may be in a bucket, such as gs://bucket/run.
        data_dir: Folder that `movseg data prepare` wrote to, or that holds a
            folder <name>/ for each data set.
        dry_run: Compile the step, print the devices and what it needs of them, and do
            not train. No data is read.
        certify: Train so many steps twice, in two processes, write to
            WORKDIR/certificate.json whether both end with the same weights, and do not
            train further. The exit status is 1 if they differ.
        print_config: Print the config with all settings, as JSON, and do not train.
        coordinator: Address of process 0, to train with several processes.
        processes: Number of processes.
        process: Index of this process, from 0.
        quiet: Do not print progress.
    """

    config: tyro.conf.Positional[Path]
    workdir: Annotated[Path | None, optional("none; needed to train", "PATH")] = None
    data_dir: Annotated[Path | None, optional("none; needed to train", "PATH")] = None
    dry_run: bool = False
    certify: Annotated[int | None, optional("no certificate", "INT")] = None
    print_config: bool = False
    coordinator: Annotated[
        str | None,
        optional("detected for SLURM, Open MPI and TPU pods", "HOST:PORT"),
    ] = None
    processes: Annotated[int | None, optional("detected", "INT")] = None
    process: Annotated[int | None, optional("detected", "INT")] = None
    quiet: bool = False
    settings: tyro.conf.Suppress[tuple[str, ...]] = ()

    @property
    def addresses(self) -> list[Path]:
        """The arguments that may be addresses, and are."""
        in_bucket = self.certify is None and bucket_address(self.workdir) is not None
        return [self.workdir] if self.workdir is not None and in_bucket else []

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.train import parallel

        config = read_config(self.config, self.settings)
        if self.print_config:
            return to_json(config)
        make_importable(config.model.fusion)
        if self.dry_run and (self.coordinator or self.processes or self.process):
            raise InputError(
                "--dry-run plans for the devices of this machine; leave out "
                "--coordinator, --processes and --process."
            )
        if self.dry_run:
            from movseg_jax.system.devices import start_devices
            from movseg_jax.train.plan import describe_plan

            start_devices()
            return describe_plan(config)
        if self.workdir is None or self.data_dir is None:
            raise InputError("Training needs --workdir and --data-dir.")
        if self.certify is not None:
            return _certify(config, self.workdir, self.data_dir, self.certify)

        # Processes must find each other before anything asks JAX for its devices.
        parallel.start_hosts(self.coordinator, self.processes, self.process)
        from movseg_jax.train.loop import train
        from movseg_jax.train.run_sources import open_sources

        with parallel.ending_together():
            sources, validation = open_sources(config, self.data_dir)
            outcome = train(config, self.workdir, sources, validation, quiet=self.quiet)
        if outcome.finished:
            return outcome.report
        print(outcome.report)
        raise SystemExit(STOPPED)


def _certify(config: Config, workdir: Path, data_dir: Path, steps: int) -> str:
    from movseg_jax.train.certify import certify

    certificate = certify(config, workdir, data_dir, steps)
    if certificate.same:
        return certificate.report
    print(certificate.report)
    raise SystemExit(1)
