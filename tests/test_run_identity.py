# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The settings that decide the rollouts of a folder, and what is refused there."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf
from support.recorded import record

from verl_mapo.run_folder import RunFolder, append_records, rollouts_file
from verl_mapo.run_identity import claim, deciding_settings
from verl_mapo.settings import ConfigError


def test_the_settings_that_decide_are_named_by_their_paths_and_limits_of_failures_are_none():
    config = OmegaConf.create(
        {
            "actor_rollout_ref": {"model": {"path": "m"}, "rollout": {"val_kwargs": {"top_k": 3}}},
            "visual_tool": {"tools": ["zoom"], "max_errors": 0.1, "tool_options": {"zoom": {"min_side": 7}}},
            "data": {"train_batch_size": 8},
        }
    )
    found = deciding_settings(config, "actor_rollout_ref.rollout.val_kwargs")
    assert {name: value for name, value in found.items() if value is not None} == {
        "actor_rollout_ref.model.path": "m",
        "actor_rollout_ref.rollout.val_kwargs.top_k": 3,
        "visual_tool.tools": ["zoom"],
        "visual_tool.tool_options.zoom.min_side": 7,
    }


def test_a_folder_with_rollouts_takes_no_others(tmp_path):
    folder = RunFolder(tmp_path)
    claim(folder, {"model": "a"})
    claim(folder, {"model": "b"})  # nothing was rolled out yet
    append_records(rollouts_file(folder.trajectories, "val", 0), [record("q", 0)])
    claim(folder, {"model": "b"})
    with pytest.raises(ConfigError, match="holds rollouts with model=b, and those with c are asked for"):
        claim(folder, {"model": "c"})
    with pytest.raises(ConfigError, match="holds rollouts with more=None, and those with 1 are asked for"):
        claim(folder, {"model": "b", "more": 1})
    assert json.loads(folder.identity.read_text()) == {"model": "b"}
    folder.identity.unlink()
    with pytest.raises(ConfigError, match="holds rollouts of another kind of run"):
        claim(folder, {"model": "b"})
