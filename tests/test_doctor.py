# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray.exceptions import GetTimeoutError
from rich.console import Console
from typer.testing import CliRunner

from verl_mapo import doctor
from verl_mapo.cli import app
from verl_mapo.doctor import examine, missing_symbols, quiet, versions
from verl_mapo.doctor_tables import dead_settings_table
from verl_mapo.names import ESTIMATORS
from verl_mapo.training.dead_settings_table import TABLE
from verl_mapo.verl_symbols import CPU_PLATFORM, VERL_SYMBOLS
from verl_mapo.versions import TESTED

ROOT = Path(__file__).parent.parent


def run_doctor(*options: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "verl_mapo.cli", "doctor", *options],
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
    )


def test_sound_installation_passes_in_driver_and_ray_actor():
    done = run_doctor()
    assert done.returncode == 0, done.stdout
    assert "ray actor" in done.stdout and "missing" not in done.stdout
    assert done.stderr == "", "what other packages print is shown only where a check failed"
    for title in ("Versions", "Machine", "Checks"):
        assert title in done.stdout
    assert "Settings without effect" not in done.stdout
    assert all(what in done.stdout for what in ("NVIDIA driver", "flash-attn", "host memory", "/dev/shm", "open files"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GetTimeoutError("Get timed out."), "None has answered in 300 s: the machine is busy"),
        (RuntimeError("no space left\non device"), "None could be started: no space left on device"),
    ],
)
@pytest.mark.parametrize("call", ["init", "get"])
def test_ray_actor_that_does_not_answer_is_a_finding(call, error, words, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda function: SimpleNamespace(remote=function))
    monkeypatch.setattr(ray, call, fails)
    (finding,) = doctor._registries_in_ray_actor()
    assert (finding.where, finding.what) == ("ray actor", "a process of ray") and words in finding.fault


def test_versions_cover_every_tested_distribution():
    assert [(name, tested) for name, _, tested in versions()] == list(TESTED.items())


def test_plugin_setting_that_excludes_the_package_is_named():
    done = run_doctor("--no-ray", VERL_USE_EXTERNAL_PLUGINS="other")
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "VERL_USE_EXTERNAL_PLUGINS=other keeps verl from loading this package: unset the variable, or add" in text
    assert "trainers sync, colocate_async, separate_async: It is not registered" in text


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder that replaces the installed entry point by one that names a missing module."""
    info = tmp_path / "verl_mapo-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: verl-mapo\nVersion: 9\n")
    (info / "entry_points.txt").write_text("[verl.plugins]\nverl_mapo = verl_mapo.not_there\n")
    return tmp_path


def test_broken_entry_point_is_explained(broken):
    done = run_doctor("--no-ray", PYTHONPATH=str(broken))
    text = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "The entry point names verl_mapo.not_there, which cannot be imported" in text
    assert f"advantage estimators {', '.join(ESTIMATORS)}: It is not registered" in text
    assert (
        "What other packages printed during the checks:" in text and "not_there" in text.split("during the checks")[1]
    )


def test_output_of_this_process_and_its_children_is_kept_from_the_terminal(capfd):
    with quiet() as printed:
        os.write(1, b"from this process\n")
        subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
    os.write(2, b"afterwards")
    assert printed == ["from this process", "from a child"]
    assert capfd.readouterr() == ("", "afterwards")


def test_output_is_restored_after_an_error(capfd):
    with pytest.raises(KeyError), quiet():
        raise KeyError
    os.write(1, b"afterwards")
    assert capfd.readouterr().out == "afterwards"


def test_settings_without_effect_are_listed_alone_where_they_are_asked_for():
    done = CliRunner().invoke(app, ["doctor", "--settings"])
    assert done.exit_code == 0 and "Settings without effect" in done.output and "Versions" not in done.output
    assert "actor_rollout_ref.rollout.multi_turn: tool_config_path" in " ".join(done.output.split())


def test_settings_without_effect_fit_a_narrow_terminal():
    console = Console(width=80, file=io.StringIO())
    console.print(dead_settings_table())
    text = console.file.getvalue()
    words = " ".join(text.split())
    for row in TABLE:
        assert row.when.words in words and all(name in words for name in row.values) and row.instead in words


def test_examine_checks_installation_symbols_and_registries():
    checked = [(finding.where, finding.what.split()[0]) for finding in examine(ray_actor=False)]
    assert checked[:3] == [("installed", "entry"), ("installed", "VERL_USE_EXTERNAL_PLUGINS"), ("installed", "symbols")]
    kinds = ["advantage", "trainers", "engines", "agent", "reward", "platform"]
    assert checked[3:] == [("driver", kind) for kind in kinds]


@pytest.fixture
def one_missing(monkeypatch) -> str:
    """A symbol that verl does not have, among the listed ones."""
    symbols = {"trainer": VERL_SYMBOLS["trainer"] + ("verl.no.such_symbol",), CPU_PLATFORM: ("vllm.no.such_symbol",)}
    monkeypatch.setattr(doctor, "VERL_SYMBOLS", symbols)
    return "verl.no.such_symbol"


def test_missing_symbol_of_verl_is_named_with_the_tested_version(one_missing):
    (finding,) = (finding for finding in examine(ray_actor=False) if finding.what.startswith("symbols"))
    assert f"does not have {one_missing}: install verl 0.9.1." in finding.fault


def test_symbols_of_the_cpu_platform_are_looked_up_where_it_is_selected(one_missing, monkeypatch):
    monkeypatch.delenv("VERL_PLATFORM", raising=False)
    assert missing_symbols() == [one_missing]
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    assert missing_symbols() == [one_missing, "vllm.no.such_symbol"]


def test_wheel_contains_templates_configurations_and_the_entry_point(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    configs = ("run", "method/_base", "method/mapo", "stack/cpu", "task/toy")
    for name in (*(f"config/{config}.yaml" for config in configs), "report/report.html.j2"):
        assert f"verl_mapo/{name}" in names
    assert any(name.endswith("entry_points.txt") for name in names)


def test_help_names_every_command():
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(command in text for command in ("doctor", "data", "probe", "train", "eval", "report"))
