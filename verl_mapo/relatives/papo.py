# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PAPO (arXiv 2507.06448): GRPO with a loss that moves the policy away from what it says of a masked image.

Equations, with the numbers of docs/papers.md; the authors' code states all of them:

    Eq. 1   D_t = k3(log q_t - log p_t)          q: 14-px squares of the image black with probability 0.6
    Eq. 2   L   = L_clip(A) - g mean(D) + e mean(-log p) [+ e mean(-log q)]       A: GRPO's advantage

The log-probs q are those of one pass before the update, as in the authors' code, so that the last mean of the *double
entropy* has no gradient there either (their issue 20): it is logged and not added. The first one counts in full. The
weights of tokens in the authors' mean of D are not known to us; here they are 1.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.charts import BLUE, GREEN, VERMILION, Curve, Panel
from verl_mapo.columns import CHANGED_LOG_PROBS
from verl_mapo.lens.token_weights import Factors, Signals
from verl_mapo.settings import STRICT
from verl_mapo.training.view_method import OLD_LOG_PROBS, ViewMethod, default_view
from verl_mapo.views.auxiliary import auxiliary_request
from verl_mapo.views.divergence import divergence
from verl_mapo.views.pixels import ViewSettings

if TYPE_CHECKING:
    from verl_mapo.lens.estimators import Estimator, Rollouts
    from verl_mapo.training.step_batch import StepBatch


@dataclass(frozen=True, config=STRICT)
class PapoSettings:
    """Settings of the loss, ``algorithm.papo``.

    Attributes:
        gain: g, weight of the mean divergence, >= 0 [paper: 0.02].
        entropy: e, weight of the mean of -log p, >= 0 [paper: 0.05].
        view: how the images are changed [paper: black squares of 14 pixels with probability 0.6].
    """

    NODE: ClassVar[str] = "algorithm.papo"

    gain: Annotated[float, Field(ge=0)] = 0.02
    entropy: Annotated[float, Field(ge=0)] = 0.05
    view: ViewSettings = field(default_factory=default_view("squares", 0.6))


class Papo(ViewMethod):
    """GRPO; :func:`verl_mapo.views.auxiliary.with_terms` adds the terms of Eq. 2 to verl's loss in the engine."""

    name = names.PAPO
    Settings = PapoSettings
    settings: PapoSettings

    def update_request(self) -> dict[str, Any]:
        """The terms of Eq. 2."""
        return auxiliary_request(self.config, self.settings.gain, self.settings.entropy)

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO's advantages."""
        score = self.divergence(step)
        step.results[self.name] = score[(response_mask != 0) & ~score.isnan() & step.not_padding.unsqueeze(1)]
        return grpo_advantage(step.outcome, response_mask, step.group, by_std=self.norm_by_std)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``papo/divergence/mean``: of the policy tokens before the update."""
        score: Tensor = step.results[self.name]
        return {"papo/divergence/mean": float(score.double().mean())} if len(score) else {}

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """The derivative of D_t by log p_t, which is 1 - q_t / p_t; 0 for tokens without a changed view."""
        policy, own = signals.policy, signals.values[OLD_LOG_PROBS].detach()
        changed = signals.values[CHANGED_LOG_PROBS.name]
        scored = policy & ~changed.isnan()
        with torch.enable_grad():
            own.requires_grad_()
            (slope,) = torch.autograd.grad(divergence(own, changed.where(scored, own.detach())).sum(), own)
        return Factors(slope, scored)

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """PAPO with its default settings; its placebo exchanges the derivatives of D_t in a row.

        At the policy that made the rollouts, the direction of Eq. 2 is the sum over the rollouts of
        (A + e) grad(sum_t log p_t) + g sum_t (dD_t / dlog p_t) grad(log p_t).
        """
        from verl_mapo.lens.estimators import grpo, token_weighted

        settings = cls.Settings()

        def gain(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
            return torch.full_like(rollouts.outcome, settings.gain, dtype=torch.float64)

        def plain(rollouts: Rollouts, random: torch.Generator | None = None) -> Tensor:
            return grpo(rollouts, random) + settings.entropy

        return token_weighted(cls.name, gain, plain)

    panels = (
        Panel(
            "Divergence of a token under the masked image",
            (Curve("before the update", "papo/divergence/mean", BLUE),),
            "PAPO raises it. If it grows without an end while accuracy falls, algorithm.papo.gain is too large.",
        ),
        Panel(
            "Mean of minus the log-prob",
            (
                Curve("own image", "actor/auxiliary/entropy", GREEN),
                Curve("masked image", "actor/auxiliary/entropy_changed", VERMILION),
            ),
            "If the second curve grows and the first follows, the policy collapses: raise algorithm.papo.entropy.",
        ),
    )
