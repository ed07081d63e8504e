# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The conditions under which settings have no effect, as far as they are more than the value of one other setting."""

from __future__ import annotations

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.settings import select
from verl_mapo.training.dead_settings import Condition, Given, given
from verl_mapo.versions import TESTED

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = names.ROLLOUT
REF = "actor_rollout_ref.ref"
MODEL = "actor_rollout_ref.model"
MULTI_TURN = f"{ROLLOUT}.multi_turn"
LOSS = f"{ACTOR}.policy_loss"
CORRECTION = "algorithm.rollout_correction"
SAMPLER = "trainer.v1.sampler"
KL_IN_REWARD = "algorithm.use_kl_in_reward"
KL_CONTROL = "algorithm.kl_ctrl"
FILTER_GROUPS = "algorithm.filter_groups"
REWARD_MODEL = "reward.reward_model"
USE_CRITIC = "critic.enable"

LOSSES = "vanilla dppo_tv dppo_kl gspo sapo gpg clip_cov kl_cov geo_mean dro cispo".split()
"""verl's own policy losses, values of ``policy_loss.loss_mode``; a loss of the user may read any setting."""


def _no_alignment(config: DictConfig) -> bool:
    """Whether no estimator reads ``algorithm.mapo``; a method of another package may."""
    estimator = str(select(config, names.ADV_ESTIMATOR))
    with_alignment = estimator == names.AXPO and select(config, f"{names.AXPO_NODE}.alignment", False)
    return estimator != names.MAPO and "." not in estimator and not with_alignment


def _no_visual_credit(config: DictConfig) -> bool:
    enabled = select(config, f"{names.VISUAL_CREDIT_NODE}.enable", False)
    return not enabled and select(config, names.ADV_ESTIMATOR) != names.VGPO


def _no_critic(config: DictConfig) -> bool:
    enabled = select(config, USE_CRITIC)
    return not (select(config, names.ADV_ESTIMATOR) == "gae" if enabled is None else enabled)


def no_loss_of(*modes: str) -> Given:
    """The condition that the policy loss is another one of verl than these."""
    others = [loss for loss in LOSSES if loss not in modes]
    return given(f"{LOSS}.loss_mode", *others, words=f"unless {LOSS}.loss_mode is {' or '.join(modes)}")


def no_mode_of(mode: str) -> Given:
    """The condition that the trainer has another mode than this."""
    others = [trainer for trainer in names.TRAINERS if trainer != mode]
    return given(names.TRAINER_MODE, *others, words=f"unless {names.TRAINER_MODE} is {mode}")


NOWHERE = Condition(f"in verl {' or '.join(TESTED['verl'])}, which reads it nowhere", lambda config: True)
V1 = Condition("with trainer.use_v1=true, whose trainers do not read it", lambda config: True)
FSDP = given(f"{ACTOR}.strategy", *names.ENGINES, words="with the engines fsdp and fsdp2")
LOOP = given(names.DEFAULT_AGENT_LOOP, names.AGENT_LOOP, words=f"with the agent loop {names.AGENT_LOOP}")
REWARD = given(names.REWARD_MANAGER_NAME, names.REWARD_MANAGER, words=f"with the reward manager {names.REWARD_MANAGER}")
ESTIMATOR = given(names.ADV_ESTIMATOR, *names.ESTIMATORS, words="with the estimators of this package")
CLIPPED = Condition(
    "while clip_ratio_low and clip_ratio_high are set, as they are by default",
    lambda config: None not in [select(config, f"{ACTOR}.clip_ratio_{end}") for end in ("low", "high")],
)
NO_KL_LOSS = Condition(
    f"with {ACTOR}.use_kl_loss=false",
    lambda config: not select(config, f"{ACTOR}.use_kl_loss") and bool(select(config, f"{ACTOR}.kl_loss_coef")),
)
NO_KL_REWARD = Condition(
    f"with {KL_IN_REWARD}=false",
    lambda config: not select(config, KL_IN_REWARD) and bool(select(config, f"{KL_CONTROL}.kl_coef")),
)
NO_REFERENCE = Condition(
    "without a KL term, which alone needs a reference model",
    lambda config: not (select(config, f"{ACTOR}.use_kl_loss") or select(config, KL_IN_REWARD)),
)
CRITIC = Condition(
    "with the estimators of this package, which read no values of a critic",
    lambda config: ESTIMATOR.holds(config) and bool(select(config, USE_CRITIC)),
)
NO_LORA = Condition(
    f"with {MODEL}.lora_rank=0",
    lambda config: not any(select(config, f"{MODEL}.{name}", 0) for name in ("lora_rank", "lora.rank")),
)
NO_CRITIC = Condition("without a critic", _no_critic)
NO_FUNCTION = given(names.CUSTOM_REWARD_FUNCTION, None, words="without reward.custom_reward_function.path")
MODEL_SCORES = Condition(
    f"with {REWARD_MODEL}.enable=true and no reward function, because verl then calls no reward manager",
    lambda config: bool(select(config, f"{REWARD_MODEL}.enable")) and NO_FUNCTION.holds(config),
)
NO_SAMPLER = Condition(
    f"without {SAMPLER}.custom_sampler.path and name",
    lambda config: None in [select(config, f"{SAMPLER}.custom_sampler.{part}") for part in ("path", "name")],
)
ON_POLICY = Condition(
    f"with {names.TRAINER_MODE}=sync, which trains on rollouts of the current model only",
    lambda config: select(config, names.TRAINER_MODE) == "sync" and NO_SAMPLER.holds(config),
)
WARMED_UP = Condition(
    f"with {ACTOR}.optim.lr_warmup_steps above 0",
    lambda config: select(config, f"{ACTOR}.optim.lr_warmup_steps", 0) > 0,
)
CONSTANT_RATE = Condition(
    f"with {ACTOR}.optim.lr_scheduler_type=constant",
    lambda config: (
        "cosine" not in [select(config, f"{ACTOR}.optim.{name}") for name in ("lr_scheduler_type", "warmup_style")]
    ),
)
OTHER_LOOP = given(names.DEFAULT_AGENT_LOOP, *names.STOCK_AGENT_LOOPS, words="with one of verl's own agent loops")
OTHER_MANAGER = Condition(
    "with another reward manager than description_alignment", lambda config: not REWARD.holds(config)
)
NO_ALIGNMENT = Condition("without MAPO's alignment advantage", _no_alignment)
NO_AXPO = Condition(
    "without adv_estimator=axpo",
    lambda config: (name := str(select(config, names.ADV_ESTIMATOR))) != names.AXPO and "." not in name,
)
NO_CREDIT = Condition("without visual credit", _no_visual_credit)
SAME_MEAN = Condition(
    f"with {names.MAPO_NODE}.coupling=reward_sum, where it is the same as neutral",
    lambda config: (
        [select(config, f"{names.MAPO_NODE}.{name}") for name in ("coupling", "no_tool")]
        == ["reward_sum", "group_mean"]
    ),
)
NO_NUMBERS = Condition(
    "with an answer check that compares no numbers",
    lambda config: (
        REWARD.holds(config)
        and (
            not NO_FUNCTION.holds(config)
            or select(config, f"{names.ALIGNMENT_NODE}.outcome") in ("exact", "multiple_choice", "math")
        )
    ),
)
