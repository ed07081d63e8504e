# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PGPO (arXiv 2604.01840): tokens that depend on seeing the image get more of the advantage.

Equations, with the numbers of docs/papers.md, as one reader of the full text states them; there is no official code.
t = 1..n over a row's scored tokens: policy tokens of a row with an image. min-max is over the row:

    Eq. 1   I_t  = minmax(log(1 + k3(log q_t - log p_t)))     q: no token attends to the image
    Eq. 2   w_t  = I_t / tau                                  if I_t < tau
                   1 + b (I_t - tau) / (1 - tau)              otherwise
    Eq. 3   f_t  = n w_t / sum(w)
    Eq. 4   A'_t = A f_t                                      A: GRPO's advantage

The factors of a row have mean 1 over its scored tokens. Every other token has factor 1, and so has a row none of whose
tokens differs from another.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.charts import BLUE, GREY, VERMILION, Curve, Panel
from verl_mapo.lens.token_weights import Factors, Signals
from verl_mapo.settings import STRICT
from verl_mapo.training.view_method import ViewMethod, default_view, viewed_divergence
from verl_mapo.views.divergence import min_max
from verl_mapo.views.pixels import ViewSettings

if TYPE_CHECKING:
    from verl_mapo.lens.estimators import Estimator
    from verl_mapo.training.step_batch import StepBatch


@dataclass(frozen=True, config=STRICT)
class PgpoSettings:
    """Settings of :func:`pgpo_factor`, ``algorithm.pgpo``.

    Attributes:
        threshold: tau, in (0, 1) [reader: 0.4].
        gain: b, >= 0: a token with I = 1 has weight 1 + b [reader: 2].
        view: how the images are changed [reader: hidden from attention].
    """

    NODE: ClassVar[str] = "algorithm.pgpo"

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.4
    gain: Annotated[float, Field(ge=0)] = 2.0
    view: ViewSettings = field(default_factory=default_view("hidden"))


@torch.no_grad()
def pgpo_factor(score: Tensor, scored: Tensor, threshold: float = 0.4, gain: float = 2.0) -> Tensor:
    """The factor of every token (Eq. 1 to 3); a row's factors depend on that row alone.

    Args:
        score: (B, L) float, k3; not read where not scored.
        scored: (B, L) bool.
        threshold: tau.
        gain: b.

    Returns:
        (B, L) in the dtype of ``score``, 1 where not scored.
    """
    share = min_max(torch.where(scored, score, 0.0).log1p(), scored)
    weight = torch.where(share < threshold, share / threshold, 1 + gain * (share - threshold) / (1 - threshold))
    weight = torch.where(scored, weight, 0.0)
    total = weight.sum(dim=1, keepdim=True)
    return torch.where(scored & (total > 0), scored.sum(dim=1, keepdim=True) * weight / total, 1.0)


class Pgpo(ViewMethod):
    """GRPO with the factors of :func:`pgpo_factor`."""

    name = names.PGPO
    Settings = PgpoSettings
    settings: PgpoSettings

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO's advantages times the factors (Eq. 4)."""
        score = self.divergence(step)
        scored = (response_mask != 0) & ~score.isnan()
        factor = pgpo_factor(score, scored, self.settings.threshold, self.settings.gain)
        at = scored & step.not_padding.unsqueeze(1)
        step.results[self.name] = (score[at], factor[at])
        return grpo_advantage(step.outcome, response_mask, step.group, by_std=self.norm_by_std).mul_(factor)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``pgpo/*``: mean divergence, and smallest, largest and mean factor of the scored tokens."""
        score, factor = step.results[self.name]
        if not len(score):
            return {}
        return {
            "pgpo/divergence/mean": float(score.double().mean()),
            "pgpo/factor/min": float(factor.min()),
            "pgpo/factor/max": float(factor.max()),
            "pgpo/factor/mean": float(factor.double().mean()),
        }

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """The factors of a row, which depend on that row alone."""
        settings, score = cls.Settings(), viewed_divergence(signals)
        scored = signals.policy & ~score.isnan()
        return Factors(pgpo_factor(score, scored, settings.threshold, settings.gain), scored)

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """PGPO with its default settings; its placebo exchanges the factors in a row."""
        from verl_mapo.lens.estimators import token_weighted

        return token_weighted(cls.name)

    panels = (
        Panel(
            "Factor of a token",
            (
                Curve("smallest", "pgpo/factor/min", BLUE),
                Curve("largest", "pgpo/factor/max", VERMILION),
                Curve("mean", "pgpo/factor/mean", GREY),
            ),
            "The mean is 1. A largest factor near the length of a row means that one token has all of its credit.",
        ),
    )
