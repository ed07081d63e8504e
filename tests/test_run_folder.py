# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of a run folder."""

from __future__ import annotations

from verl_mapo.run_folder import RunFolder, rollouts_file


def test_attempts_are_numbered_in_order_and_metrics_of_another_launcher_come_first(tmp_path):
    run = RunFolder(tmp_path)
    assert run.metrics == [] and run.next_metrics() == tmp_path / "metrics" / "000.jsonl"
    for name in ("metrics.jsonl", "metrics/000.jsonl", "metrics/001.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in run.metrics] == ["metrics.jsonl", "000.jsonl", "001.jsonl"]
    assert run.next_metrics().name == "002.jsonl"


def test_rollouts_are_found_by_step_where_the_trainer_writes_them(tmp_path):
    run = RunFolder(tmp_path)
    for step in (10, 2):
        file = rollouts_file(run.trajectories, "train", step)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert list(run.rollouts("train")) == [2, 10] and run.rollouts("val") == {}
