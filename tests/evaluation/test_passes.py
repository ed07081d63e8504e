# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The overrides of a pass, the checkpoint that it loads, and what identifies its questions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from support.served_rows import write_questions

from verl_mapo.evaluation.passes import (
    PassSettings,
    checkpoint_overrides,
    digest,
    needs_judge,
    overrides_after,
    overrides_before,
)
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse
from verl_mapo.training.config_checks import check_config


@pytest.fixture
def rows(tmp_path, picture) -> Path:
    folder = tmp_path / "rows, 'of'"
    folder.mkdir()
    return write_questions(folder / "rows.parquet", picture)


def composed(rows: Path, settings: PassSettings, *overrides: str):
    given = [*overrides_before(settings), *overrides, *overrides_after([rows], settings)]
    with initialize_config_module("verl_mapo.config", version_base=None):
        return compose("bench", [*given, "actor_rollout_ref.model.path=m", "stack=cpu"])


def test_direct_declares_no_tool_in_one_turn_and_one_sample_is_greedy(rows):
    config = composed(rows, PassSettings(protocol="direct"), "visual_tool.tools=[zoom,mark]")
    rollout = config.actor_rollout_ref.rollout
    assert parse(VisualToolSettings, config).tools == [] and rollout.multi_turn.max_assistant_turns == 1
    assert (rollout.val_kwargs.temperature, rollout.val_kwargs.do_sample) == (0.0, False)
    assert list(config.data.val_files) == list(config.data.train_files) == [str(rows)]
    drawn = composed(rows, PassSettings(k=8, seed=3, batch=5), "visual_tool.max_unreadable=0.5")
    assert parse(VisualToolSettings, drawn).tools == ["zoom"] and drawn.data.val_batch_size == 5
    assert drawn.visual_tool.max_unreadable == 0.5 and drawn.visual_tool.seed == 3
    assert drawn.actor_rollout_ref.rollout.val_kwargs.temperature == 1.0
    assert PassSettings(k=8, temperature=0.2).heat == 0.2


def test_a_training_without_tools_or_scorer_is_refused_and_an_evaluation_is_not(rows):
    config = composed(rows, PassSettings(protocol="direct"), "algorithm.adv_estimator=mapo", "trainer.val_only=true")
    check_config(config)
    config.trainer.val_only = False
    with pytest.raises(ConfigError, match=r"visual_tool.tools=\[\] lets no rollout call a tool, which mapo needs"):
        check_config(config)
    config.visual_tool.tools = ["zoom"]
    with pytest.raises(ConfigError, match="scorer.kind=none scores nothing, which .*=mapo needs: set it to clip"):
        check_config(config)


def test_the_last_checkpoint_of_a_run_or_a_named_one_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match="has no checkpoint"):
        checkpoint_overrides(tmp_path)
    step = tmp_path / "checkpoints" / "global_step_4"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(ConfigError, match="global_step_4 has no folder actor"):
        checkpoint_overrides(tmp_path)
    (step / "actor").mkdir(parents=True)
    loaded = ["trainer.resume_mode=resume_path", f"trainer.resume_from_path={step}"]
    assert checkpoint_overrides(tmp_path) == checkpoint_overrides(step) == loaded


def test_questions_are_identified_by_their_content(tmp_path, picture):
    first = write_questions(tmp_path / "a.parquet", picture)
    same = write_questions(tmp_path / "b.parquet", picture)
    other = write_questions(tmp_path / "c.parquet", picture, ("with a look", "otherwise"))
    assert digest([first]) == digest([same]) != digest([other])
    assert digest([first, other]) == digest([other, first]) and not needs_judge([first, other])
