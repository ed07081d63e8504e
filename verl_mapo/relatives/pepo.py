# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PEPO (arXiv 2603.22847): tokens that look at the image and were uncertain get more of the advantage.

Equations, with the numbers of docs/papers.md; the authors' code states all of them. t = 1..n over a row's scored
tokens: policy tokens with an image before them. H is the entropy of the policy, min-max is over the row:

    Eq. 1   v_t = mean over layers and image tokens of cos(h_t, h_v)              (advantages/focus.py)
    Eq. 2   m_t = minmax(v)_t + minmax(H)_t
    Eq. 3   g_t = 1 + a tanh(m_t - mean(m))
    Eq. 4   w_t = n softmax_t(v_t g_t / tau)
    Eq. 5   f_t = (1 - p) + p w_t                          p: the share of the run's steps that are done
    Eq. 6   A'_t = A f_t                                   A: GRPO's advantage

The factors of a row have mean 1 over its scored tokens: credit moves, its sum does not. Every other token has factor 1,
and so has every token of a row whose n is 1. Numbers per row are float64.

Functions take scores, entropies and masks; they know nothing of hidden states or verl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.focus import Prototype
from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.advantages.visual_credit import CHUNK
from verl_mapo.charts import BLUE, GREY, VERMILION, Curve, Panel
from verl_mapo.columns import VISUAL_FOCUS
from verl_mapo.lens.token_weights import Factors, Signals
from verl_mapo.settings import STRICT, ConfigError, select
from verl_mapo.training.method import Method
from verl_mapo.training.visual_credit import check_pass, number_of_layers, scores_of, visual_token_ids
from verl_mapo.views.divergence import min_max

if TYPE_CHECKING:
    from verl_mapo.lens.estimators import Estimator
    from verl_mapo.training.step_batch import StepBatch

ENTROPY = "entropy"
"""Field of verl's log-prob pass: (B, L) jagged, the entropy of the policy at each response token, in nats."""

OPTIMIZER_STEPS = "actor_rollout_ref.actor.optim.total_training_steps"
"""Where verl writes the number of steps that the epochs of a run have, once it has read the data."""


@dataclass(frozen=True, config=STRICT)
class PepoSettings:
    """Settings of :func:`pepo_factor`, ``algorithm.pepo``.

    Attributes:
        gain: a, largest change of a score by Eq. 3, as a share, in [0, 1) [paper: 0.05].
        temperature: tau, > 0; smaller ones move more credit [paper: 1.8].
        layers: the decoder layers whose states are compared, counted from 0; None for all [paper].
        prototype: the image tokens that a token is compared with, see
            :func:`verl_mapo.advantages.focus.plan_focus` [paper: one image, where all are the same].
        schedule_steps: steps after which the factor is w alone, > 0; None for all steps of the run [paper].
    """

    NODE: ClassVar[str] = "algorithm.pepo"

    gain: Annotated[float, Field(ge=0, lt=1)] = 0.05
    temperature: Annotated[float, Field(gt=0)] = 1.8
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    prototype: Prototype = "all_seen"
    schedule_steps: Annotated[int, Field(gt=0)] | None = None


@torch.no_grad()
def pepo_factor(
    cosine: Tensor, entropy: Tensor, scored: Tensor, progress: float, gain: float = 0.05, temperature: float = 1.8
) -> Tensor:
    """The factor of every token (Eq. 2 to 5); a row's factors depend on that row alone.

    Args:
        cosine: (B, L) float32, v in [-1, 1]; not read where not scored.
        entropy: (B, L) float, H in nats; not read where not scored.
        scored: (B, L) bool, the policy tokens with a score.
        progress: p in [0, 1].
        gain: a.
        temperature: tau.

    Returns:
        (B, L) float32, 1 where not scored.
    """
    factor = torch.ones_like(cosine)
    if progress == 0:
        return factor
    rows = max(1, CHUNK // cosine.shape[1])
    for v, h, at, out in zip(*(each.split(rows) for each in (cosine, entropy, scored, factor)), strict=True):
        v, h = (torch.where(at, values, 0.0).to(out.dtype) for values in (v, h))
        count = at.sum(dim=1, keepdim=True).clamp_min(1)
        m = min_max(v, at) + min_max(h, at)
        mean = torch.where(at, m, 0.0).sum(dim=1, keepdim=True, dtype=torch.float64) / count
        score = v * (1 + gain * torch.tanh(m - mean.to(m.dtype))) / temperature
        weight = count * torch.softmax(score.masked_fill(~at, torch.finfo(score.dtype).min), dim=1)
        out.copy_(torch.where(at, 1 - progress + progress * weight, 1.0))
    return factor


class Pepo(Method):
    """GRPO with the factors of :func:`pepo_factor`; the log-prob pass gives states and entropies, as for VGPO."""

    name = names.PEPO
    Settings = PepoSettings
    columns = (VISUAL_FOCUS,)
    fields = (ENTROPY,)
    settings: PepoSettings

    def check(self) -> None:
        """Check that there is a log-prob pass, no other visual credit, and an end of the schedule."""
        check_pass(self.config, "algorithm.adv_estimator=pepo")
        if select(self.config, f"{names.VISUAL_CREDIT_NODE}.enable"):
            raise ConfigError(
                f"{names.VISUAL_CREDIT_NODE}.enable=true would multiply the advantages of {names.PEPO} by a second "
                f"factor from the same scores: set it to false, or {names.ADV_ESTIMATOR} to another estimator."
            )
        if select(self.config, names.TRAINER_MODE) == "separate_async" and self._given_steps() is None:
            raise ConfigError(
                f"{PepoSettings.NODE}.schedule_steps=null is refused with {names.TRAINER_MODE}=separate_async, in "
                "which verl counts other steps: set it to the number of steps of the run."
            )

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """Check that the model has image tokens and the layers, and keep what the request needs of it."""
        model = select(self.config, names.MODEL_PATH)
        self.visual_token_ids, count = visual_token_ids(processor, model), number_of_layers(model)
        self.layers = list(range(count)) if self.settings.layers is None else self.settings.layers
        if max(self.layers) >= count:
            raise ConfigError(
                f"{PepoSettings.NODE}.layers={self.layers}, but {model} has {count} decoder layers: give numbers from "
                f"0 to {count - 1}, or null for all."
            )

    def log_prob_request(self) -> dict[str, Any]:
        """The request that :class:`verl_mapo.training.method_engine.MethodEngine` answers with (v + 1) / 2 (Eq. 1)."""
        request = {
            "visual_token_ids": self.visual_token_ids,
            "prototype": self.settings.prototype,
            "position": "own",
            "layers": self.layers,
            "similarity": "every_state",
        }
        return {VISUAL_FOCUS.name: request}

    def progress(self, number: int) -> float:
        """p of Eq. 5 at a step, counted from 1."""
        return min(1.0, number / (self._given_steps() or select(self.config, OPTIMIZER_STEPS)))

    def _given_steps(self) -> int | None:
        return self.settings.schedule_steps or select(self.config, names.TOTAL_STEPS)

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO's advantages times the factors (Eq. 6)."""
        base = grpo_advantage(step.outcome, response_mask, step.group, by_std=self.norm_by_std)
        focus = scores_of(step)
        entropy = step.fields[ENTROPY].to_padded_tensor(0.0)
        scored = (response_mask != 0) & ~focus.isnan()
        factor = pepo_factor(
            2 * focus - 1,
            entropy,
            scored,
            self.progress(step.number),
            self.settings.gain,
            self.settings.temperature,
        )
        step.results[self.name] = (focus, scored, factor)
        return base.mul_(factor)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``pepo/*``: progress, mean cosine, and smallest, largest and mean factor of the scored tokens."""
        focus, scored, factor = step.results[self.name]
        metrics = {"pepo/progress": self.progress(step.number)}
        if not scored.any():
            return metrics
        of_scored = factor[scored]
        return metrics | {
            "pepo/cosine/mean": 2 * float(focus[scored].double().mean()) - 1,
            "pepo/factor/min": float(of_scored.min()),
            "pepo/factor/max": float(of_scored.max()),
            "pepo/factor/mean": float(of_scored.double().mean()),
        }

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """The factors of a row, which depend on that row alone, at the end of the schedule."""
        settings, focus = cls.Settings(), signals.values[VISUAL_FOCUS.name]
        scored = signals.policy & ~focus.isnan()
        cosine, entropy = 2 * focus - 1, signals.values[ENTROPY]
        return Factors(pepo_factor(cosine, entropy, scored, 1.0, settings.gain, settings.temperature), scored)

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """PEPO with its default settings at the end of its schedule; the placebo exchanges the factors in a row."""
        from verl_mapo.lens.estimators import token_weighted

        return token_weighted(cls.name)

    panels = (
        Panel(
            "Factor of a token",
            (
                Curve("smallest", "pepo/factor/min", BLUE),
                Curve("largest", "pepo/factor/max", VERMILION),
                Curve("mean", "pepo/factor/mean", GREY),
            ),
            "1 at the start; smallest and largest move apart while the schedule goes on. The mean stays 1.",
        ),
    )
