# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.doctor import TESTED, examine, versions

ROOT = Path(__file__).parent.parent


def run_doctor(*options: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "verl_mapo.cli", "doctor", *options],
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_sound_installation_passes_in_driver_and_ray_actor():
    done = run_doctor()
    assert done.returncode == 0, done.stdout
    assert "ray actor" in done.stdout and "missing" not in done.stdout
    assert {name for name, _, _ in versions()} == set(TESTED)


def test_a_policy_that_leaves_the_package_out_is_named():
    done = run_doctor("--no-ray", VERL_USE_EXTERNAL_PLUGINS="other")
    assert done.returncode == 1
    assert "VERL_USE_EXTERNAL_PLUGINS=other keeps verl from loading this package" in " ".join(done.stdout.split())


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder that shadows the installed entry point with one that names a module which is not there."""
    info = tmp_path / "verl_mapo-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: verl-mapo\nVersion: 9\n")
    (info / "entry_points.txt").write_text("[verl.plugins]\nverl_mapo = verl_mapo.not_there\n")
    return tmp_path


def test_a_broken_entry_point_fails_with_a_sentence(broken):
    done = run_doctor("--no-ray", PYTHONPATH=str(broken))
    text = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "It names verl_mapo.not_there, which cannot be imported" in text
    assert "advantage estimators mapo, axpo, vgpo: verl does not know it" in text


def test_examine_looks_at_every_registry():
    assert len(examine(ray_actor=False)) == 8


def test_the_wheel_carries_templates_configs_and_the_entry_point(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
        timeout=300,
    )
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for name in ("config/mapo.yaml", "config/stack/cpu.yaml", "config/task/toy.yaml", "report/report.html.j2"):
        assert f"verl_mapo/{name}" in names
    assert any(name.endswith("entry_points.txt") for name in names)


def test_help_names_every_command():
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(command in text for command in ("doctor", "data", "probe", "train", "eval", "report"))
