# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The ranges of the numbers among verl's settings, which verl either takes as they are or refuses after minutes.

At ``temperature=0`` all rollouts of a prompt are the same and nothing is learned; a batch of -8 or of 64.0 prompts, a
share of 1.5 of a GPU's memory and a clip range below 0 end a run in a worker, with an error that names no setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field, NonNegativeFloat, PositiveFloat, StrictInt, TypeAdapter, ValidationError

from verl_mapo import names
from verl_mapo.settings import is_null, plain_reason, select
from verl_mapo.training.dead_settings_conditions import ACTOR, ROLLOUT

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[StrictInt, Field(gt=0)]
CountOrZero = Annotated[StrictInt, Field(ge=0)]
OffOrCount = Annotated[StrictInt, Field(ge=-1)]
_VALIDATION = f"{ROLLOUT}.val_kwargs"
_OPTIM = f"{ACTOR}.optim"

RANGES: dict[str, tuple[Any, Any]] = {
    names.TRAIN_BATCH_SIZE: (Count, 128),
    "data.gen_batch_size": (Count, 128),
    "data.val_batch_size": (Count, 256),
    names.TRAIN_ROWS: (OffOrCount, -1),
    names.VAL_ROWS: (OffOrCount, -1),
    names.PROMPT_LENGTH: (Count, 8192),
    names.RESPONSE_LENGTH: (Count, 8192),
    "data.dataloader_num_workers": (CountOrZero, 8),
    "data.filter_overlong_prompts_workers": (Count, 1),
    names.ROLLOUT_N: (Count, 8),
    names.MAX_ASSISTANT_TURNS: (Count, 6),
    f"{ROLLOUT}.temperature": (PositiveFloat, 1.0),
    f"{ROLLOUT}.top_p": (PositiveShare, 1.0),
    f"{ROLLOUT}.top_k": (OffOrCount, -1),
    f"{ROLLOUT}.gpu_memory_utilization": (PositiveShare, 0.6),
    f"{ROLLOUT}.tensor_model_parallel_size": (Count, 1),
    f"{ROLLOUT}.data_parallel_size": (Count, 1),
    f"{ROLLOUT}.pipeline_model_parallel_size": (Count, 1),
    f"{ROLLOUT}.max_num_seqs": (Count, 256),
    f"{ROLLOUT}.max_num_batched_tokens": (Count, 16384),
    f"{ROLLOUT}.max_model_len": (Count, 16384),
    names.IMAGE_CACHE: (NonNegativeFloat, 4),
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": (Count, 4),
    f"{ROLLOUT}.log_prob_max_token_len_per_gpu": (Count, 16384),
    f"{_VALIDATION}.n": (Count, 1),
    f"{_VALIDATION}.temperature": (NonNegativeFloat, 0),
    f"{_VALIDATION}.top_p": (PositiveShare, 1.0),
    f"{_VALIDATION}.top_k": (OffOrCount, -1),
    names.AGENT_WORKERS: (Count, 8),
    f"{ACTOR}.ppo_mini_batch_size": (Count, 128),
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": (Count, 4),
    f"{ACTOR}.ppo_max_token_len_per_gpu": (Count, 16384),
    names.FSDP_SIZE: (OffOrCount, -1),
    f"{ACTOR}.ppo_epochs": (Count, 1),
    f"{ACTOR}.ulysses_sequence_parallel_size": (Count, 1),
    f"{ACTOR}.grad_clip": (PositiveFloat, 1.0),
    f"{ACTOR}.clip_ratio": (NonNegativeFloat, 0.2),
    f"{ACTOR}.clip_ratio_low": (Share, 0.2),
    f"{ACTOR}.clip_ratio_high": (NonNegativeFloat, 0.28),
    f"{ACTOR}.clip_ratio_c": (Annotated[float, Field(gt=1)], 3.0),
    f"{ACTOR}.entropy_coeff": (float, 0),
    f"{ACTOR}.kl_loss_coef": (NonNegativeFloat, 0.001),
    f"{_OPTIM}.lr": (NonNegativeFloat, 1e-6),
    f"{_OPTIM}.lr_warmup_steps_ratio": (Share, 0.0),
    f"{_OPTIM}.weight_decay": (NonNegativeFloat, 0.01),
    f"{_OPTIM}.min_lr_ratio": (Share, 0.0),
    "actor_rollout_ref.model.lora_rank": (CountOrZero, 64),
    "actor_rollout_ref.model.lora_alpha": (PositiveFloat, 64),  # at 0 the adapters stay without effect
    "algorithm.gamma": (Share, 1.0),
    "algorithm.lam": (Share, 1.0),
    "algorithm.kl_ctrl.kl_coef": (NonNegativeFloat, 0.001),
    names.REWARD_WORKERS: (Count, 8),
    names.NODES: (Count, 1),
    names.GPUS_PER_NODE: (Count, 8),
    names.TOTAL_EPOCHS: (Count, 1),
    names.TOTAL_STEPS: (Count, 100),
    names.SAVE_FREQ: (OffOrCount, 20),
    "trainer.max_actor_ckpt_to_keep": (Count, 2),  # at 0 verl would keep all, as at null
    "trainer.max_critic_ckpt_to_keep": (Count, 2),
    names.TEST_FREQ: (OffOrCount, 20),
    names.OBJECT_STORE_MEMORY: (Count, 100_000_000_000),
}
"""Dotted path of a setting to the type of its values and a right one; null is allowed where verl allows it."""

NEEDED = (
    *(names.TRAIN_BATCH_SIZE, names.PROMPT_LENGTH, names.RESPONSE_LENGTH, names.ROLLOUT_N),
    *(f"{ROLLOUT}.tensor_model_parallel_size", f"{ROLLOUT}.gpu_memory_utilization"),
    *(names.NODES, names.GPUS_PER_NODE, names.TOTAL_EPOCHS, names.SAVE_FREQ, names.TEST_FREQ),
    *(names.REWARD_WORKERS, names.FSDP_SIZE, names.TRAIN_ROWS, names.VAL_ROWS),
)
"""Those of which verl computes something at once, so that null is refused."""


def numbers_out_of_range(config: DictConfig) -> Iterator[str]:
    """A sentence for every number of verl's settings that cannot work.

    Args:
        config: the whole configuration.
    """
    for path, (_, example) in RANGES.items():
        value = select(config, path)
        if value is None:
            if path in NEEDED and (path != names.FSDP_SIZE or is_null(config, path)):  # other engines have none
                yield f"{path}=null is refused: it should be a number, for example {example}."
            continue
        try:
            _adapter(path).validate_python(value)
        except ValidationError as error:
            yield f"{path}={value!r} is refused: {plain_reason(error.errors()[0])}, for example {example}."


@cache
def _adapter(path: str) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[RANGES[path][0], Field(allow_inf_nan=False)])
