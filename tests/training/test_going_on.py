# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A run that goes on says whether it takes the course that it would have taken without the stop."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from omegaconf import OmegaConf

from verl_mapo.settings import ConfigError
from verl_mapo.training.going_on import check_resumed_ranks, going_on


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.v1.trainer_mode=sync", "visual_tool.seed=1"], "its metrics are those of a run that was not stopped"),
        (["trainer.v1.trainer_mode=sync"], "visual_tool.seed would give them the same"),
        (
            ["trainer.v1.trainer_mode=sync", "visual_tool.seed=1", "algorithm.adv_estimator=axpo"],
            "the order in which they end, so metrics may differ",
        ),
        (["trainer.v1.trainer_mode=colocate_async", "visual_tool.seed=1"], "in flight are begun anew"),
        (["trainer.v1.trainer_mode=separate_async"], "trainer.v1.trainer_mode=separate_async, prompts"),
    ],
)
def test_sentence_names_what_differs(overrides, words):
    sentence = going_on(OmegaConf.from_dotlist(overrides), 4)
    assert sentence.startswith("The run goes on after step 4.") and words in sentence and sentence.endswith(".")


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
