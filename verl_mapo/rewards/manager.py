# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward manager: the outcome of a rollout and the alignment score of each of its visual turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from statistics import fmean
from typing import Any

from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.protocol import DataProtoItem

from verl_mapo import names
from verl_mapo.rewards.outcome import AnswerOutcome, CustomOutcome, Outcome, OutcomeError, Terms
from verl_mapo.rewards.scorers.actor import RemoteScorer
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.batching import BatchingScorer
from verl_mapo.rewards.scorers.settings import NO_SCORER, ScorerSettings
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.rollout.audit_record import Swap
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.trajectory import Trajectory, Turn, error_sentence
from verl_mapo.settings import ConfigError, parse, select

logger = logging.getLogger(__name__)


@register(names.REWARD_MANAGER)
class DescriptionAlignmentRewardManager(RewardManagerBase):
    """Scores one rollout per call; concurrent calls share the scorer's batches.

    The reward is the outcome alone. The alignment scores are returned beside it, one per visual turn, and MAPO's
    advantage couples them with the outcome: s_t = cos(E_text(label_t), E_image(crop_t)), or 0 for a turn with a fault
    [paper].

    Args:
        config: the whole configuration; ``reward.description_alignment`` and ``visual_tool`` are read.
        tokenizer: decodes the response for a custom reward function.
        compute_score: the custom reward function if ``reward.custom_reward_function.path`` is set; otherwise verl's
            default, which is not used.
        reward_router_address: address of verl's reward model, which a custom reward function gets.
        reward_model_tokenizer: tokenizer of verl's reward model, which a custom reward function gets.

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
        self.outcome: Outcome = AnswerOutcome(settings)
        if select(config, names.CUSTOM_REWARD_FUNCTION) is not None:
            router = {"reward_router_address": reward_router_address, "reward_model_tokenizer": reward_model_tokenizer}
            self.outcome = CustomOutcome(compute_score, tokenizer, router if reward_router_address is not None else {})
        self.scorer = None if settings.scorer.kind == NO_SCORER else self._make_scorer(settings.scorer)

    def _make_scorer(self, settings: ScorerSettings) -> RemoteScorer | BatchingScorer:
        if settings.placement == "actor":
            return RemoteScorer(settings)
        return BatchingScorer(build_scorer(settings), settings)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last row of ``data``; verl's reward loop calls this method.

        Returns:
            ``reward_score``, the outcome, and ``reward_extra_info``, terms with the same names for every row:

            * the terms of the outcome, see :mod:`verl_mapo.rewards.outcome`;
            * ``alignment``: mean over the scored visual turns; None without any, because verl's validation metrics
              leave None out, whereas one NaN makes their mean NaN;
            * ``visual_turns``, ``unscored`` and ``zero_by_fault``: numbers of turns;
            * ``alignment_scores``: a float, or None if unscored, for each visual turn in order;
            * ``outcome_error``, only where the outcome is not known: the reason. The reward is 0 then, because verl
              needs a number, the terms of the outcome are None, and the rollout is not trained on
              (:meth:`verl_mapo.rollout.output.VisualToolOutput.as_dict`);
            * ``audit_outcomes``, only of an audited rollout: the outcome of each swap, None where it is not known.

        Raises:
            ConfigError: the row carries no trajectory.
        """
        row = data[-1]
        trajectory = _trajectory(row)
        turns = trajectory.visual_turns
        (reward, terms), *scores = await asyncio.gather(
            self._outcome(row, trajectory), *(self._alignment(turn) for turn in turns)
        )
        known = [score for score in scores if score is not None]
        alignment = {
            "alignment": fmean(known) if known else None,
            "visual_turns": float(len(turns)),
            "unscored": float(len(scores) - len(known)),
            "zero_by_fault": float(sum(map(self._has_fault, turns))),
            names.ALIGNMENT_SCORES: list(scores),
        }
        if trajectory.audit is not None:
            terms[names.AUDIT_OUTCOMES] = [await self._swapped(row, swap) for swap in trajectory.audit.swaps]
        return {"reward_score": reward, "reward_extra_info": {**terms, **alignment}}

    async def _outcome(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """The reward and its terms. An error costs this rollout and not, as verl would have it, the prompt's group."""
        reason = trajectory.error
        if not reason:
            try:
                return await self.outcome(row, trajectory)
            except Exception as error:
                own = isinstance(error, OutcomeError | ConfigError)
                reason = str(error) if own else error_sentence("The computation of the outcome", error)
                logger.error("A rollout has no outcome and is not trained on: %s", reason, exc_info=error)
        return 0.0, {**dict.fromkeys(self.outcome.terms), names.OUTCOME_ERROR: reason}

    async def _swapped(self, row: DataProtoItem, swap: Swap) -> float | None:
        """The outcome of a swap, checked as the rollout's own is, and kept out of its terms."""
        told = Trajectory([], turns=[Turn((0, 0), swap.reply)], error=swap.error)
        reward, terms = await self._outcome(row, told)
        return None if names.OUTCOME_ERROR in terms else reward

    async def _alignment(self, turn: Turn) -> float | None:
        """s_t of one visual turn; None when the scorer failed, or there is none.

        With ``visual_tool.describe=both`` it is the mean of the label's and the description's score [ours].
        """
        if self.scorer is None:
            return None
        if self._has_fault(turn):
            return 0.0
        scores = await asyncio.gather(*(self.scorer.score(text, turn.pixels) for text in self._texts(turn)))
        return None if None in scores else fmean(scores)

    def _has_fault(self, turn: Turn) -> bool:
        """Whether a turn has alignment 0 without the scorer being asked: a LabelFault, no image, or a missing text."""
        return bool(turn.faults) or turn.pixels is None or None in self._texts(turn)

    def _texts(self, turn: Turn) -> list[str | None]:
        """The texts of a turn that ``visual_tool.describe`` asks for; None for a text that is missing."""
        texts = {"before": [turn.label], "after": [turn.description], "both": [turn.label, turn.description]}
        return texts[self.describe]


class LocalRewardManager(DescriptionAlignmentRewardManager):
    """The reward manager of a process that no other one shares: it loads the scorer itself, and needs no Ray."""

    def _make_scorer(self, settings: ScorerSettings) -> BatchingScorer:
        return BatchingScorer(build_scorer(settings), settings)


def _trajectory(row: DataProtoItem) -> Trajectory:
    fields = row.non_tensor_batch.get("tool_extra_fields") or {}
    if not isinstance(fields.get(names.TRAJECTORY), Trajectory):
        raise ConfigError(
            f"{names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER} needs the trajectory that the visual tool loop "
            f"records: set {names.DEFAULT_AGENT_LOOP}={names.AGENT_LOOP}."
        )
    return fields[names.TRAJECTORY]
