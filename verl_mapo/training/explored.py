# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What explored batches (AXPO) need of a trainer: their mini-batches and their loss masks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import PPOTrainer
from verl.workers.utils.padding import response_to_nested

from verl_mapo.advantages.axpo import AxpoConfig, loss_masks, recovered_prefixes
from verl_mapo.advantages.groups import group_ids
from verl_mapo.rollout.exploration import ROLE_COLUMNS
from verl_mapo.settings import parse
from verl_mapo.training.columns import carried, rectangular, uids
from verl_mapo.training.minibatches import deal

PADDING = -1
"""The kind of a padding row, beside the roles."""


class ExploredTrainer(PPOTrainer):
    """Mixed into each of verl's trainers; without ``axpo`` it changes nothing.

    Attributes:
        axpo: the settings; None for other estimators.
    """

    def __init__(self, config: DictConfig):
        super().__init__(config)
        self.axpo = None
        if config.algorithm.adv_estimator == "axpo":
            self.axpo = parse(AxpoConfig, config.algorithm.get("axpo"), "algorithm.axpo")

    @property
    def optimizer_steps(self) -> int:
        """Mini-batches of one update: as many as its prompts would make without resamples."""
        prompts = self.config.data.train_batch_size // self.parameter_sync_step
        return math.ceil(prompts / self.config.actor_rollout_ref.actor.ppo_mini_batch_size)

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """Rows go evenly into ranks, mini-batches and, where verl cuts by rows and not by tokens, micro-batches."""
        if self.axpo is None:
            return super()._get_required_batch_multiple(dp_size)
        model = self.config.actor_rollout_ref
        a_mini_batch = 1 if model.actor.use_dynamic_bsz else model.actor.ppo_micro_batch_size_per_gpu
        passes = [model.rollout, *([model.ref] if self.use_reference_policy else ())]
        rows = [node.log_prob_micro_batch_size_per_gpu for node in passes if not node.log_prob_use_dynamic_bsz]
        return dp_size * math.lcm(self.optimizer_steps * a_mini_batch, *rows)

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, **options: Any) -> KVBatchMeta:
        batch = super()._balance_batch(batch, metrics, **options)
        if self.axpo is not None:
            data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["role"])
            roles = rectangular(data["role"]).tolist()
            kinds = [PADDING if tag.get("is_padding") else role for tag, role in zip(batch.tags, roles, strict=True)]
            ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1
            batch.reorder(deal(kinds, ranks, self.optimizer_steps))
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self.axpo is not None:
            self._mask(batch)
        return super()._compute_advantage(batch, metrics)

    def _mask(self, batch: KVBatchMeta) -> None:
        """Write which tokens the loss acts on, and which it is divided by (verl counts those of ``loss_mask``)."""
        columns = carried(ROLE_COLUMNS, "").columns
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["response_mask", "rm_scores"]
        )
        written = data["response_mask"]
        mask = written.to_padded_tensor(0)
        outcome = torch.stack([scores.sum() for scores in data["rm_scores"].unbind()])
        group = group_ids(uids(batch))
        role, prefix_id = columns["role"], columns["prefix_id"]
        recovered = recovered_prefixes(outcome, mask, group, role, prefix_id)
        acted_on, divided_by = loss_masks(mask, recovered, role, columns["prefix_length"], self.axpo)
        fields = {"response_mask": acted_on, "loss_mask": divided_by}
        nested = {name: response_to_nested(tensor, written).to(mask.dtype) for name, tensor in fields.items()}
        tq.kv_batch_put(
            keys=batch.keys, partition_id=batch.partition_id, fields=TensorDict(nested, batch_size=len(batch))
        )

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's update, cut by the number of mini-batches; ``global_batch_size`` keeps counting original rollouts."""
        if self.axpo is None:
            return super()._update_actor(batch, metrics)
        update = self.actor_rollout_wg.update_actor

        def update_by_number(batch: KVBatchMeta) -> TensorDict:
            del batch.extra_info["mini_batch_size"]
            batch.extra_info["num_mini_batch"] = self.optimizer_steps
            return update(batch)

        with replaced(self.actor_rollout_wg, "update_actor", update_by_number):
            return super()._update_actor(batch, metrics)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object another attribute for the time of the ``with`` block: for what verl calls by name."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
