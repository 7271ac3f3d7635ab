"""`movseg doctor` in environments that are broken in known ways."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from movseg_jax import doctor
from movseg_jax.cli import app
from movseg_jax.system.process import how_to_install, installed_version

ROOT = Path(__file__).parents[1]


def diagnose(path=None, driver=None, tmp_path=None, **environment):
    """The findings of the command, run in an environment of its own.

    Args:
        path: A folder in front of what Python imports, and of its metadata.
        driver: The version that a made `nvidia-smi` prints.
        tmp_path: Where that is written.
        environment: More variables.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    variables |= environment
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    if driver is not None:
        command = tmp_path / "bin" / "nvidia-smi"
        command.parent.mkdir()
        command.write_text(f"#!/bin/sh\necho 'NVIDIA H100, {driver}'\n")
        command.chmod(0o755)
        variables["PATH"] = f"{command.parent}:{variables['PATH']}"
    arguments = ["-m", "movseg_jax", "doctor", "--json", "--no-run-model"]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=variables, capture_output=True, text=True,
    )  # fmt: skip
    findings = json.loads(done.stdout)
    failed = any(finding["status"] == "problem" for finding in findings)
    assert done.returncode == (1 if failed else 0), done.stderr
    return findings


def mends(findings, about):
    return [f["mend"] for f in findings if f["about"] == about and f["mend"]]


def install(folder, name, version):
    """Makes a package's metadata, which is all that is looked at."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_gpu_without_a_plugin_gets_the_one_that_its_driver_carries(tmp_path):
    for driver, extra in (("580.65.06", "cuda13"), ("550.54", "cuda12")):
        folder = tmp_path / extra
        folder.mkdir()
        found = diagnose(driver=driver, tmp_path=folder, JAX_PLATFORMS="cpu")
        assert mends(found, "CUDA") == [how_to_install(extra)]
        # The setting that hides the GPU is named as well.
        assert mends(found, "GPU") == ["unset JAX_PLATFORMS"]


def test_a_driver_that_is_too_old_is_told(tmp_path):
    found = diagnose(driver="470.82", tmp_path=tmp_path)
    assert mends(found, "CUDA") == ["update NVIDIA's driver to 525 or newer"]


def test_a_plugin_of_another_release_than_jaxlib_is_told(tmp_path):
    install(tmp_path / "site", "jax-cuda12-plugin", "0.4.1")
    found = diagnose(tmp_path / "site", "550.54", tmp_path)
    (mend,) = mends(found, "CUDA")
    assert mend.startswith('pip install "jax[cuda12]==')


def test_a_plugin_that_is_too_new_for_the_driver_is_told(tmp_path):
    install(tmp_path / "site", "jax-cuda13-plugin", installed_version("jaxlib"))
    found = diagnose(tmp_path / "site", "550.54", tmp_path)
    (mend,) = mends(found, "CUDA")
    assert "uninstall jax-cuda13-plugin" in mend and how_to_install("cuda12") in mend


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_told():
    found = diagnose(JAX_PLATFORMS="cuda")
    (driver,) = mends(found, "NVIDIA driver")
    assert "--gpus all" in driver
    assert mends(found, "devices")
    found = diagnose(JAX_PLATFORMS="tpu")
    assert mends(found, "TPU") == [how_to_install("tpu")]


def test_a_cache_that_cannot_be_written_is_a_note(tmp_path):
    (tmp_path / "file").write_text("")
    found = diagnose(XDG_CACHE_HOME=str(tmp_path / "file"), JAX_PLATFORMS="cpu")
    (mend,) = mends(found, "compilation cache")
    assert "XDG_CACHE_HOME" in mend
    assert not [f for f in found if f["status"] == "problem"]


def test_damaged_weights_are_told(tmp_path, monkeypatch):
    copy = tmp_path / doctor.BUNDLED.name
    copy.with_suffix(".json").write_bytes(
        doctor.BUNDLED.with_suffix(".json").read_bytes()
    )
    copy.write_bytes(doctor.BUNDLED.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(doctor, "BUNDLED", copy)
    (finding,) = doctor._weights()
    assert finding.status == "problem" and "sha256" in finding.text
    copy.unlink()
    (finding,) = doctor._weights()
    assert finding.status == "problem" and "force-reinstall" in finding.mend


@pytest.mark.slow
def test_a_machine_that_works_has_no_problem_and_runs_the_model(capsys):
    assert app.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "[FAIL]" not in said and "two tiny frames segmented" in said
