# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from which no run can go on are refused before any worker starts."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from verl_mapo.settings import ConfigError
from verl_mapo.training.resume_checks import check_resume, check_resumed_ranks


def trainer(**settings):
    return OmegaConf.create({"trainer": {"resume_mode": "auto", "resume_from_path": None, **settings}})


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    for step in (2, 10):
        (tmp_path / f"global_step_{step}").mkdir()
    return tmp_path


@pytest.mark.parametrize("end", ["", "/", "/actor", "_x", "5"])
def test_path_that_is_no_checkpoint_is_refused(checkpoints, end):
    path = f"{checkpoints}/global_step_2{end}"
    config = trainer(resume_mode="resume_path", resume_from_path=path)
    if not end:
        return check_resume(config)
    with pytest.raises(ConfigError, match=re.escape(f"trainer.resume_from_path={path} is no checkpoint")):
        check_resume(config)


def test_missing_path_is_refused(checkpoints):
    with pytest.raises(ConfigError, match="resume_from_path=None is no checkpoint: give its folder"):
        check_resume(trainer(resume_mode="resume_path"))


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (b"", "names no step: write 10, the last one that is there, into it"),
        (b"\xff\0", "names no step"),
        (b"-2", "names no step"),
        (b"20", "marks step 20 as the last, and its checkpoint is missing: write 10"),
        (b"10", None),
        (b"2\n", None),
    ],
)
def test_mark_that_leads_to_no_checkpoint_is_refused(checkpoints, mark, words):
    (checkpoints / "latest_checkpointed_iteration.txt").write_bytes(mark)
    config = trainer(default_local_dir=str(checkpoints))
    check_resume(trainer(default_local_dir=str(checkpoints), resume_mode="disable"))
    if words is None:
        return check_resume(config)
    with pytest.raises(ConfigError, match=words):
        check_resume(config)


def test_run_without_checkpoints_begins(tmp_path):
    check_resume(trainer(default_local_dir=str(tmp_path / "none")))
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("")
    with pytest.raises(ConfigError, match="names no step: remove it, or set trainer.resume_mode=disable"):
        check_resume(trainer(default_local_dir=str(tmp_path)))


@pytest.mark.parametrize(("nodes", "of_a_node", "refused"), [(1, 8, False), (2, 4, False), (8, 8, True), (1, 1, True)])
def test_checkpoint_is_read_by_as_many_gpus_as_wrote_it(tmp_path, nodes, of_a_node, refused):
    actor = tmp_path / "global_step_4" / "actor"
    actor.mkdir(parents=True)
    config = {"nnodes": nodes, "n_gpus_per_node": of_a_node, "default_local_dir": str(tmp_path), "resume_mode": "auto"}
    config = OmegaConf.create({"trainer": config})
    for rank in range(8):
        (actor / f"model_world_size_8_rank_{rank}.pt").touch()
    check_resumed_ranks(config, "actor")  # no checkpoint is marked yet
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(ConfigError, match=r"which 8 GPUs wrote and only 8 can read") if refused else nullcontext():
        check_resumed_ranks(config, "actor")
    config.trainer.resume_mode = "disable"
    check_resumed_ranks(config, "actor")
