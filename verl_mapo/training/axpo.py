# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""AXPO in the trainer: its checks, loss masks, advantage, metrics and records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.axpo import (
    AxpoAdvantage,
    AxpoSettings,
    axpo_advantage,
    axpo_groups,
    grpo_base,
    in_prefix,
    loss_masks,
    recovered_prefixes,
)
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.charts import BLUE, GREY, VERMILION, Curve, Panel
from verl_mapo.columns import (
    AXPO_COLUMNS,
    CONFIDENCE,
    CONTINUATION,
    CORRECT,
    EXPLORE_SECONDS,
    LOST,
    PLAIN,
    PREFIX_ID,
    PREFIX_LENGTH,
    ROLE,
    ROLE_NAMES,
    SOURCE,
    TURN_COLUMNS,
)
from verl_mapo.rollout.axpo.first_call import FirstCallFinder
from verl_mapo.settings import ConfigError, parse, select
from verl_mapo.training.mapo import NO_ALIGNMENT, align
from verl_mapo.training.method import Method
from verl_mapo.training.rollout_metrics import mean_of

if TYPE_CHECKING:
    from verl_mapo.lens.estimators import Estimator
    from verl_mapo.lens.token_weights import Factors, Signals
    from verl_mapo.training.step_batch import StepBatch


class Axpo(Method):
    """GRPO, or MAPO with ``alignment``, plus the credit of resampled prefixes: :mod:`verl_mapo.advantages.axpo`."""

    name = names.AXPO
    Settings = AxpoSettings
    columns = (*AXPO_COLUMNS, *TURN_COLUMNS)
    required_columns = AXPO_COLUMNS
    without_columns = (
        "algorithm.adv_estimator=axpo needs rollouts with AXPO's columns, and these carry none: use one of verl's V1 "
        "trainers, with trainer.use_v1=true."
    )
    record_keys = (names.AXPO,)
    reads_turns = True
    kind_column = ROLE
    settings: AxpoSettings

    def __init__(self, config: DictConfig):
        super().__init__(config)
        self.alignment: MapoSettings | None = parse(MapoSettings, config) if self.settings.alignment else None

    def check(self) -> None:
        """See :func:`check_rollout`."""
        check_rollout(self.config, self.settings)

    def configure(self) -> None:
        """Make verl use the agent-loop manager that runs continuations."""
        OmegaConf.update(self.config, names.AGENT_LOOP_MANAGER, names.RESAMPLING_MANAGER, force_add=True)

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """Check that each tag of a tool call is one token."""
        FirstCallFinder(tokenizer)

    def before_advantage(self, step: StepBatch) -> None:
        """Divide the groups, and write the masks of the tokens that the loss acts on and that its divisor counts.

        verl takes the divisor from ``loss_mask``.
        """
        self.require_columns(step)
        role, prefix_id = step.columns[ROLE.name], step.columns[PREFIX_ID.name]
        step.continuation = role == CONTINUATION
        step.comparison_group = axpo_groups(step.group, role, prefix_id, self.settings)
        mask = step.padded("response_mask")
        recovered = recovered_prefixes(step.outcome, mask, step.group, role, prefix_id)
        acted_on, divided_by = loss_masks(mask, recovered, role, step.columns[PREFIX_LENGTH.name], self.settings)
        step.loss_mask = divided_by.to(mask.dtype)
        step.write(response_mask=acted_on.to(mask.dtype), loss_mask=step.loss_mask)

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO's or MAPO's advantages over the divided groups, with Eq. 5 on the prefixes of sources."""
        weight = 1.0
        if self.alignment is not None:
            if any(column.name not in step.columns for column in TURN_COLUMNS):
                raise ConfigError(NO_ALIGNMENT.format("algorithm.axpo.alignment=true"))
            base = align(step, response_mask, self.alignment, self.norm_by_std).advantages
            weight = self.alignment.outcome_weight
        else:
            base = grpo_base(step.outcome, response_mask, step.comparison_group, self.settings, self.norm_by_std)
        result = axpo_advantage(
            step.outcome,
            base,
            response_mask,
            step.group,
            step.columns[ROLE.name],
            step.columns[PREFIX_LENGTH.name],
            step.columns[PREFIX_ID.name],
            self.settings,
            self.norm_by_std,
            weight,
        )
        step.results[self.name] = result
        return result.advantages

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """1 on the policy tokens of a prefix, so that the rest of a row is its plain gradient minus this one."""
        from verl_mapo.lens.token_weights import Factors

        prefix = in_prefix(signals.values[PREFIX_LENGTH.name], signals.policy.shape[1])
        return Factors((signals.policy & prefix).float())

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """AXPO with its default settings, on whole steps; its placebo exchanges the outcomes of continuations."""
        from verl_mapo.lens.estimators import resampled

        return resampled(cls.name, cls.Settings())

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """See :func:`axpo_metrics`."""
        return axpo_metrics(AxpoRows.of(step), self.settings)

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """The key ``axpo`` of every row; :class:`verl_mapo.report.load.AxpoRecord` documents its value."""
        result: AxpoAdvantage = step.results[self.name]
        return {row: {names.AXPO: _record(step, result, row)} for row in range(len(step))}

    panels = (
        Panel(
            "Triggered and recovered",
            (Curve("triggered", "axpo/trigger_rate", BLUE), Curve("recovered", "axpo/recovery_rate", VERMILION)),
            "Triggered: share of questions whose tool users are all wrong, of the questions with tool users. "
            "Recovered: share of resampled prefixes with a correct continuation. If it stays at zero, resampling "
            "gives nothing to learn from.",
            share=True,
        ),
        Panel(
            "Slots of a step, in prefixes",
            (Curve("offered", "axpo/slots/offered", GREY), Curve("used", "axpo/slots/used", BLUE)),
            "Offered: prefixes that the budget allows. Used: prefixes that were resampled. If fewer are used than "
            "offered, there were too few tool calls to resample. If all are always used, a larger "
            "algorithm.axpo.ratio would resample more.",
        ),
        Panel(
            "Confidence of tool calls",
            (
                Curve("selected", "axpo/confidence/selected", BLUE),
                Curve("passed over", "axpo/confidence/passed_over", VERMILION),
            ),
            "Mean probability of the tokens of a tool call, in triggered questions: of the calls selected for "
            "resampling and of the others. Where the lines meet, the calls are equally likely and the ranking makes "
            "no difference.",
        ),
        Panel(
            "Extra tokens, share of the rollouts'",
            (Curve("extra", "axpo/extra_tokens"),),
            "Tokens that continuations added after their prefixes, relative to the tokens of the original rollouts. "
            "Above algorithm.axpo.ratio, continuations are longer than rollouts.",
            share=True,
        ),
        Panel(
            "Extra seconds of a question",
            (Curve("mean", "axpo/seconds/mean", BLUE), Curve("longest", "axpo/seconds/max", VERMILION)),
            "Time from the end of a question's last rollout to the end of its last continuation, including the wait "
            "for slots; the mean is over all questions. The step takes less extra time than this, because other "
            "questions are still being rolled out.",
        ),
        Panel(
            "Tool users of a question",
            (Curve("rollouts", "axpo/subgroup_size"),),
            "Mean number of rollouts that called a tool, in questions with at least one. Near 1, a single wrong "
            "rollout triggers resampling.",
        ),
    )


def check_rollout(config: DictConfig, settings: AxpoSettings) -> None:
    """Check what AXPO needs of the rollout and of the batch.

    Raises:
        ConfigError: naming the setting, its value and a valid value.
    """
    rollout, prompts = config.actor_rollout_ref.rollout, config.data.train_batch_size
    turns = rollout.multi_turn.max_assistant_turns
    if not settings.slots(prompts * rollout.n):
        share = settings.ratio * prompts * rollout.n / settings.continuations
        raise ConfigError(
            f"algorithm.axpo.ratio={settings.ratio} allows {settings.ratio} x {prompts} prompts x {rollout.n} "
            f"rollouts / {settings.continuations} continuations = {share:.2g} prefixes a step, less than one: set "
            f"algorithm.axpo.ratio to at least {math.ceil(100 * settings.continuations / (prompts * rollout.n)) / 100},"
            " or raise data.train_batch_size or actor_rollout_ref.rollout.n."
        )
    if not rollout.calculate_log_probs:
        raise ConfigError(
            "actor_rollout_ref.rollout.calculate_log_probs=False leaves algorithm.adv_estimator=axpo without the "
            "probabilities by which it chooses tool calls: set it to true."
        )
    if turns is not None and turns < 2:
        raise ConfigError(
            f"{names.MAX_ASSISTANT_TURNS}={turns} leaves no turn after a tool call, and "
            "algorithm.adv_estimator=axpo resamples nothing but tool calls: set it to 2 or more, for example 3."
        )
    if manager := select(config, names.AGENT_LOOP_MANAGER):
        raise ConfigError(
            f"{names.AGENT_LOOP_MANAGER}={manager} takes the place of the manager that algorithm.adv_estimator=axpo "
            "needs for resampling: leave it at null."
        )
    if config.critic.enable:
        raise ConfigError(
            "critic.enable=True trains a critic, which algorithm.adv_estimator=axpo does not use. Its batches would "
            "need padding for the continuations: set it to false."
        )


@dataclass(frozen=True)
class AxpoRows:
    """The rows of a step under AXPO without padding; B of them.

    Attributes:
        group: (B,) int64, the number of each row's uid.
        outcome: (B,) rewards; NaN where the outcome is not known.
        called: (B,) bool, a tool was called.
        columns: (B,) each, the columns of :data:`verl_mapo.columns.AXPO_COLUMNS` by name.
        prompt_tokens: (B,) int64.
        response_tokens: (B,) int64, with the tokens that a continuation was given.
        cached_tokens: (B,) float, tokens of the first generation's input that the engine took from its cache; NaN if it
            does not report them.
    """

    group: Tensor
    outcome: Tensor
    called: Tensor
    columns: dict[str, Tensor]
    prompt_tokens: Tensor
    response_tokens: Tensor
    cached_tokens: Tensor

    @classmethod
    def of(cls, step: StepBatch) -> AxpoRows:
        """The rows of a batch."""
        kept, tags = step.not_padding, step.batch.tags
        called = [trajectory is not None and trajectory.called for trajectory in step.trajectories]
        cached = [extra.get("num_cached_tokens") for extra in step.extra_fields]
        return cls(
            group=group_ids(list(compress(step.uids, kept.tolist()))),
            outcome=step.outcome.masked_fill(~step.judged, math.nan)[kept],
            called=torch.tensor(called)[kept],
            columns={column.name: step.columns[column.name][kept] for column in AXPO_COLUMNS},
            prompt_tokens=torch.tensor([tag["prompt_len"] for tag in tags])[kept],
            response_tokens=torch.tensor([tag["response_len"] for tag in tags])[kept],
            cached_tokens=torch.tensor([math.nan if tokens is None else tokens for tokens in cached])[kept],
        )


def axpo_metrics(rows: AxpoRows, settings: AxpoSettings) -> dict[str, float]:
    """``axpo/*``: what was resampled in a step, what came of it and what it cost; a mean over nothing is left out.

    ``trigger_rate``: share of the groups with tool users. ``recovery_rate``: share of the resampled prefixes.
    ``slots/*``: numbers of prefixes. ``lost``: continuations that failed with an exception. ``extra_tokens``: tokens
    after the prefixes per token of the original rollouts. ``seconds/*``: seconds of a prompt after its last original
    rollout. ``cached_share``: share of the tokens given to continuations, prompt and prefix, that came from the cache.
    ``confidence/selected``, ``confidence/passed_over``: means over the tool users of triggered groups.
    """
    role, confidence = rows.columns[ROLE.name], rows.columns[CONFIDENCE.name]
    prefix_id, prefix_length = rows.columns[PREFIX_ID.name], rows.columns[PREFIX_LENGTH.name]
    continuation, correct, wrong = role == CONTINUATION, rows.outcome >= CORRECT, rows.outcome < CORRECT
    judged = correct | wrong
    users = rows.called & ~continuation

    def groups_with(flag: Tensor) -> Tensor:
        return torch.zeros(int(rows.group.max()) + 1, dtype=torch.bool).index_fill_(0, rows.group[flag], True)

    def prefixes(flag: Tensor) -> int:
        return len(torch.stack([rows.group[flag], prefix_id[flag]]).unique(dim=1).T)

    used_tools = groups_with(users)
    triggered = used_tools & ~groups_with(users & ~wrong)
    rivals = users & triggered[rows.group] & ~confidence.isnan()
    lost, selected = int(rows.columns[LOST.name].sum()), prefixes(continuation)
    offered = settings.slots(int((~continuation).sum()))
    used = (int(continuation.sum()) + lost) / settings.continuations
    given = rows.prompt_tokens + prefix_length
    known = continuation & ~rows.cached_tokens.isnan()
    seconds = rows.columns[EXPLORE_SECONDS.name]
    metrics = {
        "outcome/original": mean_of(rows.outcome[~continuation & judged].tolist()),
        "outcome/resampled": mean_of(rows.outcome[continuation & judged].tolist()),
        "subgroup_size": mean_of([users.sum() / used_tools.sum()] if used_tools.any() else []),
        "trigger_rate": mean_of(triggered[used_tools].tolist()),
        "recovery_rate": prefixes(continuation & correct) / selected if selected else None,
        "slots/offered": offered,
        "slots/used": used,
        "slots/unspent": offered - used,
        "lost": lost,
        "confidence/selected": mean_of(confidence[rivals & (role == SOURCE)].tolist()),
        "confidence/passed_over": mean_of(confidence[rivals & (role == PLAIN)].tolist()),
        "extra_tokens": (rows.response_tokens - prefix_length)[continuation].sum()
        / rows.response_tokens[~continuation].sum(),
        "seconds/mean": seconds[~continuation].mean(),
        "seconds/max": seconds.max(),
        "cached_share": (rows.cached_tokens[known].sum() / given[known].sum()) if known.any() else None,
    }
    return {f"axpo/{name}": float(value) for name, value in metrics.items() if value is not None}


def _record(step: StepBatch, result: AxpoAdvantage, row: int) -> dict[str, Any]:
    """The record of one row, see :class:`verl_mapo.report.load.AxpoRecord`."""
    role, confidence = int(step.columns[ROLE.name][row]), float(step.columns[CONFIDENCE.name][row])
    return {
        "role": ROLE_NAMES[role],
        "prefix_id": int(step.columns[PREFIX_ID.name][row]),
        "prefix_length": int(step.columns[PREFIX_LENGTH.name][row]),
        "confidence": None if math.isnan(confidence) else confidence,
        "a_prefix": float(result.a_prefix[row]) if role == SOURCE else None,
        "recovered": bool(result.recovered[row]) if role == SOURCE else None,
        "cached_tokens": step.extra_fields[row].get("num_cached_tokens"),
    }
