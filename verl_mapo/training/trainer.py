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
"""verl's V1 trainers, with the columns carried to the estimator and the rollouts written down to be looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import PPOTrainer
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

from verl_mapo.advantages.axpo import RESAMPLE
from verl_mapo.advantages.mapo import MapoConfig
from verl_mapo.rewards.scorers.actor import start_actor
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.rollout.budget import check_budget
from verl_mapo.rollout.exploration import ROLE_COLUMNS
from verl_mapo.rollout.prefix import CallFinder
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.trajectory import COLUMNS, TRAJECTORY
from verl_mapo.settings import parse, select
from verl_mapo.training.checks import LOOP, MANAGER, REWARD, check_config, check_rows, uses_this_package
from verl_mapo.training.columns import carrying, live_rows, plain, rectangular
from verl_mapo.training.credited import CreditedTrainer
from verl_mapo.training.explored import replaced
from verl_mapo.training.metrics import Explored, axpo_metrics, mapo_metrics, reread, rollout_metrics
from verl_mapo.training.records import describe_rows


class VisualTrainer(CreditedTrainer):
    """Mixed into each of verl's trainers: the same steps, with more carried into the advantage and more written down.

    Attributes:
        records: the rollouts of the step under way, as ``trainer.rollout_data_dir`` gets them.
    """

    def __init__(self, config: DictConfig):
        check_config(config)
        if config.algorithm.adv_estimator == "axpo":
            OmegaConf.update(config, MANAGER, "verl_mapo.rollout.explorative.ExplorativeManager", force_add=True)
        super().__init__(config)
        self.mapo = parse(MapoConfig, config.algorithm.get("mapo"), "algorithm.mapo")
        self.records: list[dict[str, Any]] = []

    def init(self) -> None:
        if select(self.config, "reward.reward_manager.name") == REWARD:
            settings = alignment_settings(self.config)
            # Ray ends the actor with its first handle, so the trainer keeps that one for as long as the run lasts.
            self.scorer = start_actor(settings.scorer) if settings.scorer.placement == "actor" else None
        super().init()

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        if select(self.config, "actor_rollout_ref.rollout.agent.default_agent_loop") == LOOP:
            settings = parse(VisualToolSettings, self.config.get("visual_tool"), "visual_tool")
            check_budget(self.config, settings, self.tokenizer, self.processor)
        if self.axpo is not None:
            CallFinder(self.tokenizer)

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        check_rows(self.config, self.train_dataset.dataframe.column_names)

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        names = [*COLUMNS, *(ROLE_COLUMNS if self.axpo else ())]
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=[*names, "extra_fields", "rm_scores"]
        )
        columns = {name: rectangular(data[name]) for name in names if name in data.keys()}
        live = live_rows(batch)
        with carrying(columns) as carrier:
            batch = super()._compute_advantage(batch, metrics)

        extra = plain(data["extra_fields"])
        original = live & (columns["role"] != RESAMPLE) if self.axpo else live
        rollouts = [row for row, kept in zip(extra, original.tolist(), strict=True) if kept and TRAJECTORY in row]
        metrics.update(rollout_metrics([reread(row[TRAJECTORY]) for row in rollouts]))
        outcome = torch.stack([scores.sum() for scores in data["rm_scores"].unbind()])
        if carrier.mapo is not None:
            metrics.update(mapo_metrics(carrier.mapo, outcome, columns["turn_status"], original))
            self._check_scorer(metrics["mapo/alignment/unscored_share"])
        if carrier.axpo is not None:
            metrics.update(axpo_metrics(Explored.of(batch, outcome, extra, columns), self.axpo))
        if self.config.trainer.rollout_data_dir:
            self.records += describe_rows(batch, "train", self.global_steps, carrier, self.tokenizer)
        return batch

    def _validate(self) -> dict[str, float]:
        """verl's validation; its rollouts are written down before verl clears them from the queue."""
        records: list[dict[str, Any]] = []
        sample = self.replay_buffer.sample

        def sample_and_describe(**kwargs: Any) -> tuple[KVBatchMeta, dict]:
            batch, metrics = sample(**kwargs)
            records.extend(describe_rows(batch, "val", self.global_steps))
            return batch, metrics

        if not self.config.trainer.rollout_data_dir:
            return super()._validate()
        with replaced(self.replay_buffer, "sample", sample_and_describe):
            metrics = super()._validate()
        self._write("val", records)
        return metrics

    def _check_scorer(self, unscored: float) -> None:
        """Stop a run whose scorer mostly fails, rather than train it on what is left."""
        if unscored > self.mapo.max_unscored:
            raise RuntimeError(
                f"The alignment scorer failed on {unscored:.0%} of the visual turns of step {self.global_steps}, more "
                f"than algorithm.mapo.max_unscored={self.mapo.max_unscored}: the reward workers' log has the reason."
            )

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        super()._log_rollout_data(batch, timing_raw, rollout_data_dir)
        self._write("train", self.records)
        self.records = []

    def _write(self, split: str, records: list[dict[str, Any]]) -> None:
        file = Path(self.config.trainer.rollout_data_dir) / split / f"{self.global_steps}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))


def extend(stock: type[PPOTrainer]) -> type[PPOTrainer]:
    """A trainer class that gives ``stock`` itself to runs that use nothing of this package."""

    class Extended(VisualTrainer, stock):
        def __new__(cls, config: DictConfig) -> PPOTrainer:
            return super().__new__(cls) if uses_this_package(config) else stock(config)

    Extended.__name__ = Extended.__qualname__ = f"Visual{stock.__name__}"
    return Extended


def extend_all() -> None:
    """Extend every trainer in verl's registry under its own name: one flag works in all modes."""
    for name, stock in TRAINER_REGISTRY.items():
        if not issubclass(stock, VisualTrainer):
            TRAINER_REGISTRY[name] = extend(stock)


extend_all()
