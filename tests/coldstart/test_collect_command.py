# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of ``verl-mapo collect``: what it refuses, launches and prints."""

from __future__ import annotations

import io
import re

import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module
from rich.console import Console
from support.served_rows import write_questions
from typer.testing import CliRunner

from verl_mapo import cli, launcher
from verl_mapo.coldstart.collect import Collection
from verl_mapo.coldstart.collect_command import table_of
from verl_mapo.coldstart.filters import Removal


def invoke(*arguments: str):
    done = CliRunner().invoke(cli.app, ["collect", *arguments])
    return done.exit_code, " ".join(re.sub("[│\n]", " ", done.output).split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Neither --run nor --from is given"),
        (["--run", "r", "--model", "m"], "--server and --model belong together"),
        (["--run", "r", "--server", "http://h/v1"], "--server and --model belong together"),
        (["--run", "r", "--min-iou", "2"], "--min-iou=2.0 is refused"),
        (["--run", "r", "--server", "h", "--model", "m"], "--server='h' is refused"),
        (["--run", "r", "--server", "http://h:port/v1", "--model", "m"], "server='http://h:port/v1' is refused"),
        (["--run", "r", "--min-calls", "2", "--max-calls", "1"], "leave no rollout"),
        (["--run", "r", "data.train_files"], "is no override"),
    ],
)
def test_options_that_cannot_work_are_refused_in_words(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, output = invoke("--out", "rows", *arguments)
    assert code == 2 and words in output
    assert not any(tmp_path.iterdir()), "nothing is written"


def test_rollouts_of_the_runs_own_model_are_a_validation_on_the_training_data(
    tmp_path, monkeypatch, tiny_models, picture
):
    launched = []
    monkeypatch.setattr(launcher, "launch", lambda arguments, **_: launched.append(arguments) or 3)
    data = write_questions(tmp_path / "rows.parquet", picture)
    overrides = [f"data.train_files={data}", "data.val_files=b.parquet", "data.train_max_samples=2"]
    overrides += [f"actor_rollout_ref.model.path={tiny_models['qwen2_5_vl'].folder}"]
    overrides += ["reward.description_alignment.scorer.kind=none", "reward.description_alignment.scorer.model=null"]
    run = tmp_path / "run"
    code, _ = invoke("--out", str(tmp_path), "--run", str(run), "--n", "2", "--temperature", "0", *overrides)
    assert code == 3, "the code of the run"
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose("run", [text for text in launched[0][4:] if not text.startswith("hydra.")])
    assert config.data.val_files == config.data.train_files == str(run / "missing.parquet")
    assert pq.read_table(run / "missing.parquet").num_rows == 2
    assert config.trainer.val_only and config.trainer.val_before_train and config.records.append
    sampling = config.actor_rollout_ref.rollout.val_kwargs
    assert (sampling.n, sampling.temperature, sampling.do_sample) == (2, 0, False) and config.records.share == 1


def test_table_tells_what_each_filter_removed_and_left():
    removed = {Removal.WRONG: 5, Removal.DUPLICATE: 2}
    console = Console(file=io.StringIO(), width=120)
    console.print(table_of(Collection(None, 10, removed, rows=3, calling=1, questions=2)))
    lines = [line.split("│") for line in console.file.getvalue().splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert ["recorded", "10"] in cells and ["wrong", "5", "5", Removal.WRONG.sentence] in cells
    assert ["duplicate", "2", "3", Removal.DUPLICATE.sentence] in cells and ["with a call", "1"] in cells
