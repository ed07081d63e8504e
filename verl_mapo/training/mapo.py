# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MAPO in the trainer: its advantage, its metrics, and the alignment in the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.mapo import MapoAdvantage, MapoSettings, mapo_advantage
from verl_mapo.charts import BLUE, VERMILION, Alarm, Curve, Panel
from verl_mapo.columns import ABSENT, TURN_COLUMNS, TURN_SCORES, TURN_SPANS, TURN_STATUS, UNSCORED
from verl_mapo.rewards.scorers.settings import NO_SCORER
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.method import Method

FLOOR_SHARE = 0.5
"""Share of groups at the floor of their spread above which the report raises an alarm."""

UNSCORED_SHARE = 0.1
"""Share of unscored visual turns above which the report raises an alarm."""

NO_ALIGNMENT = (
    "{} needs rollouts with alignment columns, and these carry none: set "
    f"{names.DEFAULT_AGENT_LOOP}={names.AGENT_LOOP} and {names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER}."
)

if TYPE_CHECKING:
    from verl_mapo.training.step_batch import StepBatch


class Mapo(Method):
    """The advantage A_out + beta A_sem, see :func:`verl_mapo.advantages.mapo.mapo_advantage`.

    With ``algorithm.axpo.alignment=true``, AXPO computes this advantage, and this class adds the metrics and records.
    """

    name = names.MAPO
    Settings = MapoSettings
    columns = TURN_COLUMNS
    required_columns = TURN_COLUMNS
    without_columns = NO_ALIGNMENT.format("algorithm.adv_estimator=mapo")
    record_keys = ("alignment", "a_out", "a_sem")
    reads_turns = True
    settings: MapoSettings

    @classmethod
    def enabled(cls, config: DictConfig) -> bool:
        """Whether a run computes MAPO's advantage, as its estimator or inside AXPO."""
        estimator = select(config, names.ADV_ESTIMATOR)
        return estimator == names.MAPO or (
            estimator == names.AXPO and bool(select(config, f"{names.AXPO_NODE}.alignment"))
        )

    def check(self) -> None:
        """See :func:`check_alignment`."""
        asker = f"{names.ADV_ESTIMATOR}=mapo"
        if select(self.config, names.ADV_ESTIMATOR) == names.AXPO:
            asker = f"{names.AXPO_NODE}.alignment=true"
        check_alignment(self.config, asker)

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """See :func:`align`."""
        return align(step, response_mask, self.settings, self.norm_by_std).advantages

    def after_advantage(self, step: StepBatch) -> None:
        """Stop a run whose scorer fails on most turns instead of training on the rest.

        Raises:
            RuntimeError: with the share of turns without a score.
        """
        unscored = float(_unscored_share(step.columns[TURN_STATUS.name][step.original]))
        if unscored > self.settings.max_unscored:
            raise RuntimeError(
                f"The alignment scorer failed on {unscored:.0%} of the visual turns of step {step.number}, more than "
                f"algorithm.mapo.max_unscored={self.settings.max_unscored}: the reward workers' log has the reason."
            )

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """See :func:`mapo_metrics`."""
        counted = step.original & step.judged
        return mapo_metrics(step.results[names.MAPO], step.outcome, step.columns[TURN_STATUS.name], counted)

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """The alignment, A_out and A_sem of every row."""
        result: MapoAdvantage = step.results[names.MAPO]
        return {
            row: {
                "alignment": float(result.alignment[row]) if result.has_alignment[row] else None,
                "a_out": float(result.a_out[row]),
                "a_sem": float(result.a_sem[row]),
            }
            for row in range(len(step))
        }

    panels = (
        Panel(
            "Spread of the advantages",
            (Curve("outcome, A_out", "mapo/a_out/std"), Curve("alignment, A_sem", "mapo/a_sem/std", VERMILION)),
            "Standard deviation over the batch. Near zero, that part of the advantage gives no learning signal. If "
            "only A_sem is above zero, training follows the scorer and not the task.",
        ),
        Panel(
            "Groups at the std floor",
            (
                Curve("outcome", "mapo/std_floor/outcome_share", BLUE),
                Curve("alignment", "mapo/std_floor/alignment_share", VERMILION),
            ),
            "Groups whose rollouts have almost equal scores. Above 50 %, most of the batch gives no learning signal: "
            "choose harder or easier questions, or a scorer that separates crops better.",
            share=True,
            limit=FLOOR_SHARE,
        ),
        Panel(
            "Unscored visual turns",
            (Curve("unscored", "mapo/alignment/unscored_share"),),
            "Visual turns for which the scorer failed or timed out. They count as missing, not as zero. If there are "
            "many, the mean over the others is biased.",
            share=True,
            limit=UNSCORED_SHARE,
        ),
    )
    alarms = (
        Alarm(
            "mapo/std_floor/outcome_share",
            "outcomes of a group",
            FLOOR_SHARE,
            "In {last:.0%} of groups all rollouts have the same outcome. These groups give no learning signal for the "
            "answer: the questions are too easy or too hard.",
        ),
        Alarm(
            "mapo/std_floor/alignment_share",
            "alignments of a group",
            FLOOR_SHARE,
            "In {last:.0%} of groups the alignments differ so little that their standard deviation is below "
            "algorithm.mapo.min_std: the scorer does not separate these crops.",
        ),
        Alarm(
            "mapo/alignment/unscored_share",
            "unscored turns",
            UNSCORED_SHARE,
            "{last:.0%} of visual turns have no score because the scorer fails or is too slow. The alignment of the "
            "others may not be representative.",
        ),
    )


def check_alignment(config: DictConfig, asker: str) -> None:
    """Check that a training has a reward manager and a scorer that give alignment scores.

    Args:
        config: the whole configuration.
        asker: the setting that needs the scores, and its value.

    Raises:
        ConfigError: naming the setting to change.
    """
    manager = select(config, names.REWARD_MANAGER_NAME)
    if config.reward.reward_manager.source == "register" and manager != names.REWARD_MANAGER:
        raise ConfigError(
            f"{names.REWARD_MANAGER_NAME}={manager} gives no alignment scores, which {asker} needs: set "
            f"{names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER} and {names.DEFAULT_AGENT_LOOP}={names.AGENT_LOOP}."
        )
    scores = manager != names.REWARD_MANAGER or alignment_settings(config).scorer.kind != NO_SCORER
    if not scores and not select(config, names.VAL_ONLY):
        raise ConfigError(
            f"{names.ALIGNMENT_NODE}.scorer.kind={NO_SCORER} scores nothing, which {asker} needs: set it to clip, with "
            f"{names.ALIGNMENT_NODE}.scorer.model=openai/clip-vit-base-patch32."
        )


def align(step: StepBatch, response_mask: Tensor, settings: MapoSettings, norm_by_std: bool) -> MapoAdvantage:
    """MAPO's advantage over the comparison groups of a batch; kept in ``step.results`` for metrics and records.

    Args:
        step: the batch, with the columns of visual turns.
        response_mask: (B, L), 1 on the tokens that the loss acts on.
        settings: the settings of MAPO.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``.
    """
    result = mapo_advantage(
        outcome=step.outcome,
        turn_scores=step.columns[TURN_SCORES.name],
        turn_status=step.columns[TURN_STATUS.name],
        turn_spans=step.columns[TURN_SPANS.name],
        response_mask=response_mask,
        group=step.comparison_group,
        settings=settings,
        norm_by_std=norm_by_std,
    )
    step.results[names.MAPO] = result
    return result


def mapo_metrics(result: MapoAdvantage, outcome: Tensor, status: Tensor, counted: Tensor) -> dict[str, float]:
    """``mapo/*``: spread of both advantages, and the share of groups at their floors.

    Args:
        result: the advantages and their parts.
        outcome: (B,) rewards.
        status: (B, T) int8, the ``turn_status`` column.
        counted: (B,) bool, the original rollouts whose outcome is known.
    """
    scored = result.alignment[counted & result.has_alignment]
    metrics = {
        "outcome/mean": outcome[counted].mean(),
        "outcome/std": outcome[counted].std(correction=0),
        "a_out/std": result.a_out[counted].std(correction=0),
        "a_sem/std": result.a_sem[counted].std(correction=0),
        "std_floor/outcome_share": _share(result.outcome_flat, result.outcome_counted),
        "std_floor/alignment_share": _share(result.semantic_floored, result.semantic_counted),
        "alignment/unscored_share": _unscored_share(status[counted]),
    }
    if len(scored):
        metrics["alignment/mean"] = scored.mean()
        metrics["alignment/std"] = scored.std(correction=0)
    return {f"mapo/{name}": float(value) for name, value in metrics.items()}


def _unscored_share(status: Tensor) -> Tensor:
    return (status == UNSCORED).sum() / (status != ABSENT).sum().clamp_min(1)


def _share(flag: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return (flag & counted).sum() / counted.sum().clamp_min(1)
