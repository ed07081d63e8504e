# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""`verl-mapo rehearse`: its two starts, its table, its exit code, and what it refuses; no run is started here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from verl_mapo import cli
from verl_mapo.rehearsal import command
from verl_mapo.rehearsal.changes import Change

RECIPE = Path(__file__).parents[2] / "recipes" / "mapo" / "qwen2_5_vl_7b.yaml"


def rehearse(*arguments):
    done = CliRunner().invoke(cli.app, ["rehearse", *map(str, arguments)], env={"COLUMNS": "200"})
    return done, " ".join(re.sub("[│┃\n]", " ", done.output).split())


@pytest.fixture
def starts(monkeypatch):
    """The starts of a rehearsal whose parts are not made; each logs the steps that a run would."""
    norm = "actor/grad_norm"
    found = SimpleNamespace(overrides=[], logged=[{0: {}, 1: {norm: 0.5}, 2: {norm: 0.1}}, {2: {}, 3: {norm: 0.0}}])

    def launch_run(run, config, overrides, timeout_h, verbose, on_cpu):
        assert on_cpu
        file = run / "metrics" / f"{len(found.overrides):03d}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = ({"step": step, "data": values} for step, values in found.logged[len(found.overrides)].items())
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found.overrides.append(overrides)
        return 0

    changed = [Change("trainer.nnodes", 8, 1, "stack=cpu: no accelerator here", "several nodes")]
    monkeypatch.setattr(command, "launch_run", launch_run)
    monkeypatch.setattr(command, "prepare", lambda *_: command.Rehearsal(["++trainer.nnodes=1"], changed))
    return found


def test_run_is_started_twice_and_parts_that_left_no_trace_have_failed(starts, tmp_path):
    done, text = rehearse("--recipe", RECIPE, "--run", tmp_path / "run")
    assert [overrides[-1] for overrides in starts.overrides] == [f"trainer.total_training_steps={n}" for n in (2, 3)]
    assert "trainer.nnodes 8 1 stack=cpu: no accelerator here" in text
    assert "resume rehearsed steps of each start: [1, 2] and [3]" in text
    assert "update of the weights rehearsed gradient norms of steps 1, 2, 3: 0.5, 0.1, 0" in text
    assert "several nodes not rehearsed trainer.nnodes" in text
    assert done.exit_code == 1 and "Not as it should be: agent loop, pictures, tool calls" in text


def test_resume_that_began_anew_has_failed(starts, tmp_path):
    starts.logged[1] = dict.fromkeys((1, 2, 3), {"actor/grad_norm": 0.5})
    _, text = rehearse("--recipe", RECIPE, "--run", tmp_path / "run")
    assert "resume failed steps of each start: [1, 2] and [1, 2, 3]" in text


def test_code_of_a_run_that_fails_is_the_code_of_the_rehearsal(starts, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "launch_run", lambda *_, **__: 70)
    done, text = rehearse("--recipe", RECIPE, "--run", tmp_path / "run")
    assert done.exit_code == 70 and "What was rehearsed" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "no/such.yaml"], "--recipe no/such.yaml does not exist"),
        (["--recipe", RECIPE, "--data", "no/such.parquet"], "--data no/such.parquet does not exist on this machine"),
        (["--recipe", RECIPE, "actor_rollout_ref.model.path=mine"], "model.path=mine is no folder"),
        (["--recipe", RECIPE, "data.no_such_setting=1"], "data.no_such_setting is not a setting"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused_before_anything_is_started(arguments, words, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "launch_run", lambda *_, **__: pytest.fail("it was started"))
    done, text = rehearse(*arguments, "--run", tmp_path / "run")
    assert done.exit_code == 2 and words in text


def test_folder_of_an_earlier_run_is_refused(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "000.jsonl").touch()
    done, text = rehearse("--recipe", RECIPE, "--run", tmp_path)
    assert done.exit_code == 2 and "started before: give a new one" in text


def test_vllm_for_gpus_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "packages_distributions", lambda: {"vllm": ["vllm"]})
    monkeypatch.setattr(command, "distribution_version", lambda _: "0.24.0")
    done, text = rehearse("--recipe", RECIPE, "--run", tmp_path / "run")
    assert done.exit_code == 2 and "vLLM 0.24.0 cannot run on a CPU" in text
