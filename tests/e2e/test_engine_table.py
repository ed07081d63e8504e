# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs of the engines that the table calls tested in real runs, with the three methods at once."""

from __future__ import annotations

import pytest
from support.checked_run import check_credit, check_groups
from support.real_run import toy_overrides, train

pytestmark = [pytest.mark.e2e, pytest.mark.matrix]

ALL_METHODS = ["method=axpo", "algorithm.axpo.alignment=true", "algorithm.visual_credit.enable=true"]

ENGINES = {
    "an engine on two devices": [
        "trainer.n_gpus_per_node=2",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=2",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.distributed_executor_backend=mp",
    ],
    "LoRA": [
        "actor_rollout_ref.model.lora_rank=8",
        "actor_rollout_ref.model.lora_alpha=16",
        "actor_rollout_ref.model.exclude_modules=.*visual.*",
        "actor_rollout_ref.rollout.load_format=safetensors",
        # a step so large that an engine without the adapters would write with other probabilities
        "actor_rollout_ref.actor.optim.lr=1e-2",
    ],
}


@pytest.mark.parametrize("engine", ENGINES)
def test_three_methods_train_and_the_engine_has_the_weights_that_were_trained(toy, tmp_path, engine):
    metrics = train(tmp_path, [*toy_overrides(toy), *ALL_METHODS, *ENGINES[engine]])
    for step in (1, 2):
        check_groups(tmp_path, step, credited=True)
        check_credit(metrics[step])
        assert "mapo/alignment/mean" in metrics[step]
        assert metrics[step]["actor/grad_norm"] > 0 and metrics[step]["training/rollout_probs_diff_max"] < 1e-3
    assert sum(step["axpo/slots/used"] for step in metrics.values()) >= 1
