# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Values that verl would take for something else, or refuse after minutes."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf, open_dict
from support.scripted import compose_config
from support.setting_paths import leaves

from verl_mapo.settings import ConfigError
from verl_mapo.training.setting_values import NUMBER_OR_TEXT, check_setting_values
from verl_mapo.training.unknown_settings import verl_settings

ROWS = [
    ("trainer.resume_mode=resume", "trainer.resume_mode=resume is refused: did you mean resume_path? Otherwise use"),
    ("trainer.v1.trainer_mode=async", "trainer.v1.trainer_mode=async is refused: did you mean sync?"),
    ("actor_rollout_ref.actor.checkpoint.save_contents=[model,optimiser,extra]", "did you mean optimizer?"),
    ("actor_rollout_ref.actor.checkpoint.load_contents=[modle]", "did you mean model?"),
    ("actor_rollout_ref.actor.policy_loss.loss_mode=gpso", "did you mean gspo?"),
    ("actor_rollout_ref.actor.kl_loss_type=low_kl", "use one of kl, k1, abs"),
    ("actor_rollout_ref.actor.use_kl_loss=flase", "use_kl_loss='flase' is refused: it should be true or false"),
    ("trainer.resume_mode=null", "trainer.resume_mode=null is refused: use one of auto, disable, resume_path."),
    ("actor_rollout_ref.actor.loss_agg_mode=null", "loss_agg_mode=null is refused: use one of token-mean"),
    ("trainer.save_freq=twenty", "trainer.save_freq='twenty' is refused: it should be a number, such as -1."),
    ("actor_rollout_ref.model.fused_kernel_options.impl_backend=tritn", "did you mean triton?"),
    ("actor_rollout_ref.rollout.dtype=bf16", "did you mean bfloat16?"),
    ("actor_rollout_ref.rollout.quantization=fp4", "did you mean fp8?"),
    ("actor_rollout_ref.rollout.checkpoint_engine.backend=ncl", "did you mean nccl?"),
    ("actor_rollout_ref.rollout.mode=asinc", "did you mean async?"),
    ("actor_rollout_ref.actor.optim.optimizer=AdamWW", "did you mean AdamW?"),
    ("actor_rollout_ref.actor.optim.optimizer=null", "optimizer=null is refused: use one of A"),
    ("reward.reward_manager.source=registry", "did you mean register?"),
    ("transfer_queue.backend.storage_backend=Simple", "did you mean SimpleStorage?"),
    ("trainer.device=tpu", "use one of cuda, npu, cpu."),
    ("trainer.device=CUDA", "use one of cuda, npu, cpu."),
    ("trainer.device=null", "trainer.device=null is refused: use one of cuda, npu, cpu."),
    ("method=dapo algorithm.filter_groups.metric=accuracy", "algorithm.filter_groups.metric=accuracy is refused: use"),
    ("method=dapo algorithm.filter_groups.metric=null", "algorithm.filter_groups.metric=null is refused: use one of"),
    ("actor_rollout_ref.actor.optim.lr=1e-6x", "actor_rollout_ref.actor.optim.lr='1e-6x' is refused: it should be a"),
]


@pytest.mark.parametrize(("override", "words"), ROWS)
def test_value_is_refused_in_words(override, words):
    with pytest.raises(ConfigError) as error:
        check_setting_values(compose_config(*override.split()))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("method=axpo",),
        ("actor_rollout_ref.actor.policy_loss.loss_mode=mine", "actor_rollout_ref.model.external_lib=my_losses"),
        ("stack=cpu", "task=toy"),
        ("+mode=separate_async", "actor_rollout_ref.rollout.quantization=fp8", "actor_rollout_ref.rollout.dtype=null"),
        ("actor_rollout_ref.rollout.checkpoint_engine={backend: mine, custom_backend_module: my_engines}",),
        ("actor_rollout_ref.actor.optim.optimizer=Mine", "actor_rollout_ref.actor.optim.optimizer_impl=absent"),
        ("method=dapo", "reward.custom_reward_function.path=mine.py", "algorithm.filter_groups.metric=mine"),
        ("algorithm.filter_groups.metric=mine",),
        ("trainer.resume_mode=disable", "actor_rollout_ref.actor.kl_loss_type=k3+"),
        ("actor_rollout_ref.actor.checkpoint.save_contents=[model,hf_model]",),
        ("actor_rollout_ref.actor.checkpoint.save_contents=null", "actor_rollout_ref.actor.kl_loss_type=null"),
        ("actor_rollout_ref.actor.optim.lr='1e-6'", "trainer.nnodes=2"),
        ("algorithm.rollout_correction.rollout_is_threshold='0.5_2.0'",),
    ],
)
def test_right_values_pass(overrides):
    check_setting_values(compose_config(*overrides))


@pytest.mark.parametrize(("kind", "words"), [(bool, "true or false"), (int, "a number"), (float, "a number")])
def test_text_in_the_place_of_any_truth_value_or_number_is_refused(kind, words):
    config = compose_config()
    paths = [path for path, value in leaves(verl_settings()) if type(value) is kind and path not in NUMBER_OR_TEXT]
    assert len(paths) > 20
    with open_dict(config):
        for path in paths:
            OmegaConf.update(config, path, "flase", force_add=True)
    with pytest.raises(ConfigError) as error:
        check_setting_values(config)
    missed = [path for path in paths if f"{path}='flase' is refused: it should be {words}" not in str(error.value)]
    assert not missed
