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
"""The reward manager: an outcome for the row, an alignment score for each of its visual turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from statistics import fmean
from typing import Any

from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.protocol import DataProtoItem

from verl_mapo.names import ALIGNMENT_SCORES, TRAJECTORY
from verl_mapo.rewards.outcome import CustomCheck, OutcomeCheck, RuleCheck
from verl_mapo.rewards.scorers.actor import RemoteScorer
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError, parse, select


@register("description_alignment")
class DescriptionAlignmentRewardManager(RewardManagerBase):
    """Scores one rollout at a time; concurrent rollouts share the scorer's batches.

    The reward is the outcome alone. The alignment scores go beside it, one a visual turn, for the advantage estimate to
    couple with the outcome: s_t = cos(E_text(label_t), E_image(crop_t)), or 0 for a turn with a fault (MAPO).

    Args:
        config: the whole configuration; ``reward.description_alignment`` and ``visual_tool`` are read.
        compute_score: replaces the outcome check where ``reward.custom_reward_function.path`` is set; otherwise verl
            passes its own default, which is not used.

    Raises:
        ConfigError: the settings are wrong, or the scorer cannot be loaded.
    """

    def __init__(
        self,
        config: DictConfig,
        tokenizer: Any,
        compute_score: Callable[..., Any] | None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ):
        super().__init__(config, tokenizer, compute_score)
        settings = alignment_settings(config)
        self.describe = parse(VisualToolSettings, config).describe
        self.outcome: OutcomeCheck = RuleCheck(settings)
        if select(config, "reward.custom_reward_function.path") is not None:
            router = {"reward_router_address": reward_router_address, "reward_model_tokenizer": reward_model_tokenizer}
            self.outcome = CustomCheck(compute_score, tokenizer, router if reward_router_address is not None else {})
        if settings.scorer.placement == "actor":
            self.scorer: RemoteScorer | BatchingScorer = RemoteScorer(settings.scorer)
        else:
            self.scorer = BatchingScorer(build_scorer(settings.scorer), settings.scorer)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last row of ``data``, as verl's reward loop asks for it.

        Returns:
            ``reward_score``, the outcome; ``reward_extra_info``, every term by name, the same names for every row: the
            outcome's (see :mod:`verl_mapo.rewards.outcome`), ``alignment`` (plain mean over scored turns; None where
            there is none, which verl's validation metrics leave out, whereas a NaN would spread), ``visual_turns``,
            ``unscored``, ``zero_by_fault``, and ``turn_scores``, a float or None for each visual turn in order.

        Raises:
            ConfigError: the row carries no trajectory.
        """
        row = data[-1]
        trajectory = _trajectory(row)
        turns = trajectory.visual_turns
        (reward, terms), *scores = await asyncio.gather(
            self.outcome(row, trajectory), *(self._alignment(turn) for turn in turns)
        )
        known = [score for score in scores if score is not None]
        alignment = {
            "alignment": fmean(known) if known else None,
            "visual_turns": float(len(turns)),
            "unscored": float(len(scores) - len(known)),
            "zero_by_fault": float(sum(map(self._faulty, turns))),
            ALIGNMENT_SCORES: list(scores),
        }
        return {"reward_score": reward, "reward_extra_info": {**terms, **alignment}}

    async def _alignment(self, turn: Turn) -> float | None:
        """s_t of one visual turn; None when the scorer failed.

        With ``describe=both``, the mean of the label's and the description's (ours).
        """
        if self._faulty(turn):
            return 0.0
        scores = await asyncio.gather(*(self.scorer.score(text, turn.crop) for text in self._words(turn)))
        return None if None in scores else fmean(scores)

    def _faulty(self, turn: Turn) -> bool:
        """Whether a turn scores zero without asking: refused, or without the words it owes."""
        return bool(turn.faults) or turn.crop is None or None in self._words(turn)

    def _words(self, turn: Turn) -> list[str | None]:
        words = {"before": [turn.label], "after": [turn.description], "both": [turn.label, turn.description]}
        return words[self.describe]


def _trajectory(row: DataProtoItem) -> Trajectory:
    fields = row.non_tensor_batch.get("tool_extra_fields") or {}
    if not isinstance(fields.get(TRAJECTORY), Trajectory):
        raise ConfigError(
            "reward.reward_manager.name=description_alignment needs the trajectory that the visual tool loop records: "
            "set actor_rollout_ref.rollout.agent.default_agent_loop=visual_tool_agent."
        )
    return fields[TRAJECTORY]
