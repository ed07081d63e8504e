# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Estimators as verl calls them: with rewards, mask, uid and configuration, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.fake_queue import scored_rows
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, get_adv_estimator_fn

from verl_mapo.names import ESTIMATORS, GDPO
from verl_mapo.settings import ConfigError
from verl_mapo.training.estimators import estimating, register_estimator
from verl_mapo.training.step_batch import StepBatch

VERLS_ARGUMENTS = {
    "token_level_rewards": torch.zeros(2, 3),
    "response_mask": torch.ones(2, 3),
    "index": np.array(["a", "a"]),
    "config": {},
}


@pytest.mark.parametrize("name", sorted({*ESTIMATORS} - {GDPO}))
def test_estimator_outside_a_step_names_the_setting_to_change(name):
    with pytest.raises(ConfigError, match=f"adv_estimator={name} needs the columns .* set trainer.use_v1=true"):
        get_adv_estimator_fn(name)(**VERLS_ARGUMENTS)


def test_estimator_of_verl_with_the_name_of_a_method_computes_outside_its_step():
    """verl's gdpo gets its terms from the legacy trainer, which calls no method."""
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    terms = {"good": [1.0, 0.0], "short": [0.0, 1.0]}
    found, _ = get_adv_estimator_fn(GDPO)(
        **VERLS_ARGUMENTS | {"token_level_rewards": rewards, "config": {"gdpo_reward_keys": ["good"]}},
        non_tensor_batch=terms,
        batch={"prompts": torch.zeros(2, 1), "attention_mask": torch.ones(2, 4).long()},
    )
    assert (found[0] > 0).all() and (found[1] < 0).all()


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("mapo", "default_agent_loop=visual_tool_agent and reward.reward_manager.name=description_alignment"),
        ("axpo", "trainer.use_v1=true"),
    ],
)
def test_missing_columns_are_named_with_the_settings_that_provide_them(queue, make_trainer, method, sentence):
    queue.fields.update(scored_rows([torch.ones(3)] * 2, [0.0, 1.0], [None] * 2))
    step = StepBatch.fetch(queue.batch(["a_0_0", "a_1_0"]), number=1)
    with estimating(step, make_trainer(f"method={method}").estimator), pytest.raises(ConfigError, match=sentence):
        get_adv_estimator_fn(method)(**VERLS_ARGUMENTS)


def test_registering_twice_keeps_the_first_function():
    before = dict(ADV_ESTIMATOR_REGISTRY)
    for name in ESTIMATORS:
        register_estimator(name)
    assert before == ADV_ESTIMATOR_REGISTRY


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(2), r"returned \(2,\); it must return a tensor of the shape of the rewards, \(2, 3\)"),
        (None, "returned NoneType"),
    ],
)
def test_advantages_of_the_wrong_form_are_refused_before_verl_trains_on_them(
    queue, make_trainer, monkeypatch, returned, message
):
    queue.fields.update(scored_rows([torch.ones(3)] * 2, [0.0, 1.0], [None] * 2))
    step = StepBatch.fetch(queue.batch(["a_0_0", "a_1_0"]), number=1)
    method = make_trainer("method=vgpo").estimator
    monkeypatch.setattr(method, "advantages", lambda *_: returned)
    with estimating(step, method), pytest.raises(ValueError, match=message):
        get_adv_estimator_fn("vgpo")(**VERLS_ARGUMENTS)


def test_advantages_of_integers_get_the_dtype_of_the_rewards(queue, make_trainer, monkeypatch):
    queue.fields.update(scored_rows([torch.ones(3)] * 2, [0.0, 1.0], [None] * 2))
    step = StepBatch.fetch(queue.batch(["a_0_0", "a_1_0"]), number=1)
    method = make_trainer("method=vgpo").estimator
    monkeypatch.setattr(method, "advantages", lambda *_: torch.tensor([[-1] * 3, [1] * 3]))
    with estimating(step, method):
        advantages, _ = get_adv_estimator_fn("vgpo")(**VERLS_ARGUMENTS)
    assert advantages.dtype == torch.float32 and advantages[:, 0].tolist() == [-1, 1]
