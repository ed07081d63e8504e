# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of a run's own model: which questions are launched, and how an interrupted run goes on."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from support.recorded import record
from support.served_rows import QUESTIONS, config_of, write_questions

from verl_mapo import launcher
from verl_mapo.overrides import last_value
from verl_mapo.run_command import primary
from verl_mapo.run_folder import append_records, read_records, rollouts_file
from verl_mapo.settings import ConfigError
from verl_mapo.validation_run import ValidationRun


@pytest.fixture
def run(tmp_path, tiny_models, picture):
    data = write_questions(tmp_path / "rows.parquet", picture)
    return lambda n=2, **settings: validation_run(tmp_path, tiny_models["qwen2_5_vl"], data, n, settings)


def validation_run(folder: Path, model, data: Path, n: int, settings: dict) -> ValidationRun:
    config = config_of(model, data)
    for name, value in settings.items():
        OmegaConf.update(config, name, value)
    return ValidationRun(config, folder / "run", n)


def launching(monkeypatch, code: int, sessions: dict[str, list[int]]) -> list[list[str]]:
    """Replace the start of verl by one that records some sessions of the launched questions, and ends with a code."""
    asked: list[list[str]] = []

    def launch(arguments, *, echo, **_):
        file = rollouts_file(last_value(arguments, "trainer.rollout_data_dir"), "val", 0)
        rows = pq.read_table(last_value(arguments, "data.val_files")).to_pylist()
        asked.append([row["prompt"][0]["content"].removeprefix("<image>") for row in rows])
        made = [record(name, session) for name in asked[-1] for session in sessions.get(name, [])]
        append_records(file, made)
        echo(f"(TaskRunner pid=1) verl-mapo: {len(made)} rollouts of the validation are recorded\n")
        return code

    monkeypatch.setattr(launcher, "launch", launch)
    return asked


def test_an_interrupted_run_goes_on_with_the_questions_that_lack_a_rollout(run, monkeypatch, capsys):
    monkeypatch.setattr("verl_mapo.training.questions.question_id", lambda *parts: text_of(parts[-1]))
    first = launching(monkeypatch, 137, {"with a look": [0, 1], "wrongly": [0]})
    started = run()
    assert started.roll_out(primary(None, None), [], None, False) == 137
    assert first == [list(QUESTIONS)] and started.folder.missing.is_file()
    assert "the same command goes on with the rollouts that are missing" in capsys.readouterr().out
    second = launching(monkeypatch, 0, dict.fromkeys(QUESTIONS, [0, 1]))
    assert run().roll_out(primary(None, None), [], None, False) == 0
    assert second == [["wrongly", "without a look"]] and not started.folder.missing.is_file()
    made = [(one["question_id"], one["session"]) for one in read_records(started.folder.rollouts("val")[0])]
    assert sorted(made) == sorted((question, session) for question in QUESTIONS for session in range(2))
    assert run().roll_out(primary(None, None), [], None, False) == 0 and len(second) == 1, "nothing is missing"
    with pytest.raises(ConfigError, match="rollouts with visual_tool.tools=.'zoom'., and those with .. are asked for"):
        run(**{"visual_tool.tools": []})
    run(**{"visual_tool.max_unreadable": 0.5})  # only says when a run stops


def text_of(prompt: list[dict]) -> str:
    return next(part["text"] for part in prompt[0]["content"] if part["type"] == "text")
