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
"""What visual credit (VGPO) needs of a trainer: scores asked for in the log-prob pass, factors on the advantage."""

from __future__ import annotations

import torch
import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.workers.utils.padding import response_from_nested, response_to_nested

from verl_mapo.advantages.axpo import RESAMPLE, axpo_groups
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.visual_credit import VisualCreditConfig, apply_credit, visual_factors
from verl_mapo.settings import ConfigError, credits_looks, parse
from verl_mapo.training.columns import Credited, carried, uids
from verl_mapo.training.credit_metrics import credit_metrics
from verl_mapo.training.explored import ExploredTrainer
from verl_mapo.training.focus_engine import FOCUS, check_layer, focus_request, visual_token_ids


class CreditedTrainer(ExploredTrainer):
    """Mixed into each of verl's trainers; without visual credit it changes nothing.

    Attributes:
        credit: the settings; None without visual credit.
    """

    def __init__(self, config: DictConfig):
        super().__init__(config)
        self.credit: VisualCreditConfig | None = None
        if credits_looks(config):
            self.credit = parse(VisualCreditConfig, config.algorithm.get("visual_credit"), "algorithm.visual_credit")

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        if self.credit is not None:
            model = self.config.actor_rollout_ref.model.path
            check_layer(self.credit.layer, model)
            self.visual_token_ids = visual_token_ids(self.processor, model)

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self.credit is None:
            return super()._compute_old_log_prob(batch, metrics)
        asked = self.credit
        batch.extra_info[FOCUS] = focus_request(self.visual_token_ids, asked.prototype, asked.position, asked.layer)
        after = super()._compute_old_log_prob(batch, metrics)
        for each in (batch, after):
            each.extra_info.pop(FOCUS, None)
        return after

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch = super()._compute_advantage(batch, metrics)
        return batch if self.credit is None else self._credit_looks(batch, metrics)

    def _credit_looks(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Multiply the advantages that the estimator gave (Eq. 7), whichever it was."""
        names = [FOCUS, "response_mask", "loss_mask", "advantages"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
        if FOCUS not in data.keys():
            raise ConfigError(
                "The log-prob pass gave no visual focus, which visual credit needs: it comes from verl's fsdp or fsdp2 "
                "engine on NVIDIA and AMD GPUs and on the CPU stack (`verl-mapo doctor` shows what is registered)."
            )
        written = data["response_mask"]
        score = response_from_nested(data[FOCUS], written).to_padded_tensor(torch.nan)
        mask, divided_by = (data[name].to_padded_tensor(0) for name in ("response_mask", "loss_mask"))
        advantages = data["advantages"].to_padded_tensor(0)
        group = group_ids(uids(batch))
        if self.axpo is not None:
            columns = carried(("role", "prefix_id"), "").columns
            # The end of a source is out of the loss, but its look belongs to what its score is made of.
            mask = torch.where((columns["role"] == RESAMPLE).unsqueeze(1), mask, divided_by)
            group = axpo_groups(group, columns["role"], columns["prefix_id"], self.axpo)
        factors = visual_factors(score, ~score.isnan(), mask, group, self.credit)
        metrics.update(credit_metrics(score, mask, factors, self.credit))
        carried((), "").credit = Credited(score, mask, factors)
        credited = response_to_nested(apply_credit(advantages, factors, self.credit), written)
        fields = TensorDict({"advantages": credited}, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)
