# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A real run with a method, a tool, a scorer, an answer check and a data set from other packages (docs/examples)."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.examples import METHOD_OVERRIDES, OVERRIDES, install
from support.real_run import PROMPTS, rollouts_of, toy_overrides, train

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]


def write_questions(parquet: Path, folder: Path) -> None:
    """The first questions of the toy in the layout that the example's data set reads."""
    folder.mkdir()
    with (folder / "questions.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "question", "answer"])
        for row in pq.read_table(parquet).to_pylist()[: 2 * PROMPTS]:
            question = row["prompt"][-1]["content"].removeprefix("<image>")
            lines.writerow([row["images"][0], question, row["reward_model"]["ground_truth"]])


def test_run_with_parts_of_other_packages_trains_and_is_recorded(toys, tmp_path):
    site, source, out = tmp_path / "site", tmp_path / "source", tmp_path / "data"
    install(site)
    environment = {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])}
    toy = toys["qwen2_5_vl"]
    write_questions(toy.train, source)
    convert = [sys.executable, "-m", "verl_mapo.cli", "data", "convert", "csv_questions.CsvQuestions"]
    subprocess.run([*convert, "--source", source, "--out", out], env={**os.environ, **environment}, check=True)
    overrides = [*toy_overrides(toy), *METHOD_OVERRIDES, *OVERRIDES, f"data.train_files={out}/train.parquet"]
    metrics = train(tmp_path / "run", [*overrides, "trainer.total_training_steps=1"], environment)
    assert 0 <= metrics[1]["tool_bonus/share"] <= 1 and "mapo/outcome/mean" not in metrics[1]
    records = rollouts_of(tmp_path / "run", 1)
    assert {record["data_source"] for record in records} == {"csv_questions"}
    assert {record["outcome"] for record in records} <= {0.0, 1.0} and len(records) == 8 * PROMPTS
    # The tiny model has not seen a prompt with two tools, so it may look at nothing: test_examples.py plays the calls.
    scores = [turn["score"] for record in records for turn in record["trajectory"]["turns"] if turn["described"]]
    assert all(0 <= score <= 1 for score in scores), "the example's scorer stays in this range"
