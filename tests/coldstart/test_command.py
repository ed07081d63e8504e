# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What ``verl-mapo sft`` checks, starts and prints; the process that it starts is a recorder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.scripted import call
from support.supervised import row_of, write_rows
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.coldstart import command
from verl_mapo.coldstart.command import run_sft
from verl_mapo.settings import ConfigError

SMALL = ["data.train_batch_size=1", "trainer.total_epochs=2", "sft.workers=1"]


@pytest.fixture
def rows(picture, tmp_path) -> Path:
    answer = "<answer>red</answer>"
    turns = [[call(), answer], [answer], [call((400, 400, 1, 1)), answer]]
    return write_rows(tmp_path / "rows.parquet", [row_of(picture, texts) for texts in turns])


@pytest.fixture
def started(monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """The commands that were started with their environment; each of them succeeds."""
    seen = []
    monkeypatch.setattr(command, "supervise", lambda line, *, env, **_: seen.append((line, env)) or 0)
    return seen


def finish(run: Path, step: int) -> Path:
    """A checkpoint as verl writes it, so far as the command looks at it."""
    folder = run / "checkpoints" / f"global_step_{step}" / "huggingface"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(step))
    return folder


def test_command_starts_verls_trainer_once_and_names_the_model(tiny_models, rows, started, tmp_path, capsys):
    model, run = tiny_models["qwen2_5_vl"].folder, tmp_path / "run"
    few = [*SMALL, "sft.max_left_out=0.5"]
    assert run_sft(str(model), rows, run, few, None, False) == 0
    ((line, env),) = started
    assert line[1:4] == ["-m", "torch.distributed.run", "--standalone"] and "verl.trainer.sft_trainer" in line
    assert f"model.path={model}" in line and f"data.train_files={rows}" in line and line[-4:] == few
    assert env["VERL_FILE_LOGGER_PATH"] == str(run / "metrics" / "000.jsonl")
    assert json.loads((run / "run.json").read_text())["arguments"][-4:] == few
    said = capsys.readouterr().out
    assert "2 of 3 rows (left out: refused_call 1)" in said and "1 calls" in said

    folder = finish(run, 4)
    assert run_sft(str(model), rows, run, few, None, False) == 0
    said = capsys.readouterr().out
    assert len(started) == 1 and "step 4 of 4" in said and f"actor_rollout_ref.model.path={folder}" in said


def test_mistakes_stop_the_command_with_a_sentence(tiny_models, rows, started, tmp_path):
    model, run = str(tiny_models["qwen2_5_vl"].folder), tmp_path / "run"
    for overrides, words in (
        ([], "1 of 3 rows .* are left out"),
        (["sft.max_left_out=0.5", "data.train_batch_size=64"], "there are 2 rows to train on"),
        (["trainer.nnodes=2"], "starts the processes of one machine"),
        (["data.max_length=1024"], "verl's default"),
        (["data.max_lenght=1024"], "max_lenght"),
    ):
        with pytest.raises(ConfigError, match=words):
            run_sft(model, rows, run, [*SMALL, *overrides], None, False)
    with pytest.raises(ConfigError, match=r"model.path=.*absent gives no tokenizer"):
        run_sft(str(tmp_path / "absent"), rows, run, SMALL, None, False)
    with pytest.raises(ConfigError, match="does not exist on this machine"):
        run_sft(model, tmp_path / "absent.parquet", run, SMALL, None, False)
    assert not started and not (run / "run.json").exists()


def test_the_command_line_shows_a_mistake_without_a_traceback(tiny_models, tmp_path):
    model = str(tiny_models["qwen2_5_vl"].folder)
    arguments = ["--model", model, "--data", str(tmp_path / "absent.parquet"), "--run", str(tmp_path / "run")]
    shown = CliRunner().invoke(app, ["sft", *arguments])
    assert shown.exit_code == 2 and "does not exist on this machine" in " ".join(shown.output.replace("│", " ").split())


def test_tools_have_the_same_settings_and_defaults_as_in_rl(sft_config):
    from support.scripted import compose_config

    assert sft_config().visual_tool == compose_config().visual_tool
    assert sft_config("visual_tool.describe=after").visual_tool.describe == "after"
