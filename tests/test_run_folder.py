# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of a run folder."""

from __future__ import annotations

import os

import pytest

from verl_mapo.run_folder import RunFolder, rollouts_file, write_whole


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
    (run.trajectories / "train" / "11.jsonl.part").touch()
    (run.trajectories / "train" / "notes.jsonl").touch()
    assert list(run.rollouts("train")) == [2, 10] and run.rollouts("val") == {}


def test_next_attempt_never_gets_a_file_that_exists(tmp_path):
    (tmp_path / "metrics").mkdir()
    for name in ("001.jsonl", "007.jsonl", "notes.jsonl"):
        (tmp_path / "metrics" / name).touch()
    assert RunFolder(tmp_path).next_metrics().name == "008.jsonl"


@pytest.mark.parametrize("interrupted", [(os, "fsync"), (os, "replace")])
def test_interrupted_write_leaves_the_previous_content(interrupted, tmp_path, monkeypatch):
    file = tmp_path / "new" / "file.jsonl"
    write_whole(file, "first\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*interrupted, interrupt)
        write_whole(file, "second\n")
    assert file.read_text() == "first\n" and list(tmp_path.glob("new/*.jsonl")) == [file]
    write_whole(file, "third \u5b9e\n")
    assert file.read_text("utf-8") == "third \u5b9e\n" and list(file.parent.iterdir()) == [file]


def interrupt(*_):
    raise KeyboardInterrupt
