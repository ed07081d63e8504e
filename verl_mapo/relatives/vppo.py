# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""VPPO (arXiv 2510.09285): only the tokens that depend most on the image are trained, and more in rows with many such.

Equations, with the numbers of docs/papers.md; the authors' code states all of them. t = 1..n over a row's scored
tokens: policy tokens of a row with an image.

    Eq. 1   s_t  = clip(k3(clip(log q_t - log p_t, -20, 20)), 0, 10)     q: 14-px squares of the image black, p = 0.5
    Eq. 2   m_t  = 1 if s_t is among the ceil(0.4 n) largest of the row, else 0
    Eq. 3   S    = mean of s_t over the row
    Eq. 4   n    = (S - min S) / (max S - min S)                         over the rows of the batch
    Eq. 5   f    = b + n (c - b),    c = b + (1 - b) / mean(n),  b = 0.9
    Eq. 6   A'_t = A f m_t                                               A: GRPO's advantage
    Eq. 7   L    = L_clip(A') + e mean(-log p_t)                         e: 0 [ours]; 0.06 and 0.12 by the authors

The mean of f over the batch is 1. The authors take Eq. 4 over the mini-batch of a rank and the mean of Eq. 5 over a
micro-batch, so that f depends on how rows are dealt out; here both are over the batch of a step. A row without an image
keeps its advantage: f and m are 1.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.charts import BLUE, VERMILION, Curve, Panel
from verl_mapo.lens.token_weights import Factors, Signals
from verl_mapo.settings import STRICT
from verl_mapo.training.view_method import ViewMethod, default_view, viewed_divergence
from verl_mapo.views.auxiliary import auxiliary_request
from verl_mapo.views.pixels import ViewSettings

if TYPE_CHECKING:
    from verl_mapo.lens.estimators import Estimator, Rollouts
    from verl_mapo.training.step_batch import StepBatch


@dataclass(frozen=True, config=STRICT)
class VppoSettings:
    """Settings of :func:`vppo_factors`, ``algorithm.vppo``.

    Attributes:
        kept: share of a row's tokens that are trained, in (0, 1] [paper: 0.4].
        least: b, the factor of the row that depends least on its image, in (0, 1] [paper: 0.9].
        entropy: e, weight of the mean of -log p in the loss, >= 0: a penalty of entropy [ours: 0; the authors: 0.06 for
            Qwen2.5-VL-7B, 0.12 for Qwen3-VL-8B].
        view: how the images are changed [paper: black squares of 14 pixels with probability 0.5].
    """

    NODE: ClassVar[str] = "algorithm.vppo"

    kept: Annotated[float, Field(gt=0, le=1)] = 0.4
    least: Annotated[float, Field(gt=0, le=1)] = 0.9
    entropy: Annotated[float, Field(ge=0)] = 0.0
    view: ViewSettings = field(default_factory=default_view("squares"))


class VppoFactors(NamedTuple):
    """Result of :func:`vppo_factors`.

    Attributes:
        row: (B,) float64, f; 1 for a row without scored tokens.
        kept: (B, L) bool, m; true where not scored.
    """

    row: Tensor
    kept: Tensor


@torch.no_grad()
def vppo_factors(score: Tensor, scored: Tensor, kept: float = 0.4, least: float = 0.9) -> VppoFactors:
    """The factors of a batch (Eq. 2 to 5). Rows in any order.

    Args:
        score: (B, L) float, s; not read where not scored.
        scored: (B, L) bool.
        kept: the share of Eq. 2; tokens that tie are taken from the left.
        least: b.
    """
    mean = mean_score(score, scored)
    return VppoFactors(row_factor(mean, torch.zeros_like(mean, dtype=torch.int64), least), most(score, scored, kept))


def most(score: Tensor, scored: Tensor, kept: float = 0.4) -> Tensor:
    """(B, L) bool, m of Eq. 2, true where not scored; the arguments are those of :func:`vppo_factors`."""
    # float64: 0.4 * 5 is exactly 2, and must not become 3
    number = torch.ceil(kept * scored.sum(dim=1, keepdim=True).double() - 1e-9)
    order = score.masked_fill(~scored, -1.0).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(score.shape[1]).expand_as(order))
    return (rank < number) | ~scored


def mean_score(score: Tensor, scored: Tensor) -> Tensor:
    """(B,) float64, S of Eq. 3, NaN in a row without scored tokens; the arguments are those of :func:`vppo_factors`."""
    return torch.where(scored, score, 0.0).double().sum(dim=1) / scored.sum(dim=1)


def row_factor(mean: Tensor, batch: Tensor, least: float = 0.9) -> Tensor:
    """(B,) float64, f of Eq. 4 and 5; 1 where there is no S, and in a batch whose rows have the same S.

    Args:
        mean: (B,) float64, S; NaN in a row without scored tokens.
        batch: (B,) int64, the number of the batch that a row belongs to.
        least: b.
    """
    live = ~mean.isnan()
    s, of = mean[live], batch[live]
    count = s.new_zeros(int(batch.max()) + 1).index_add_(0, of, torch.ones_like(s))
    low, high = (
        torch.full_like(count, bound).scatter_reduce_(0, of, s, how)[of]
        for bound, how in ((torch.inf, "amin"), (-torch.inf, "amax"))
    )
    n = torch.where(high > low, (s - low) / (high - low), 0.0)
    average = (torch.zeros_like(count).index_add_(0, of, n) / count)[of]
    return torch.ones_like(mean).masked_scatter_(live, torch.where(average > 0, least + n * (1 - least) / average, 1.0))


class Vppo(ViewMethod):
    """GRPO with the factors of :func:`vppo_factors`."""

    name = names.VPPO
    Settings = VppoSettings
    settings: VppoSettings

    def update_request(self) -> dict[str, Any]:
        """The penalty of Eq. 7, if there is one."""
        return auxiliary_request(self.config, entropy=self.settings.entropy) if self.settings.entropy else {}

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO's advantages times the factors (Eq. 6)."""
        score = self.divergence(step)
        scored = (response_mask != 0) & ~score.isnan() & step.not_padding.unsqueeze(1)
        factors = vppo_factors(score, scored, self.settings.kept, self.settings.least)
        step.results[self.name] = (score, scored, factors)
        base = grpo_advantage(step.outcome, response_mask, step.group, by_std=self.norm_by_std)
        return base.mul_(factors.row.to(base.dtype).unsqueeze(1)).mul_(factors.kept)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``vppo/*``: mean divergence of all and of the kept tokens, and smallest, largest and mean factor of a row."""
        score, scored, factors = step.results[self.name]
        if not scored.any():
            return {}
        row = factors.row[scored.any(dim=1)]
        return {
            "vppo/divergence/mean": float(score[scored].double().mean()),
            "vppo/divergence/kept": float(score[scored & factors.kept].double().mean()),
            "vppo/kept_share": float((scored & factors.kept).sum() / scored.sum()),
            "vppo/factor/min": float(row.min()),
            "vppo/factor/max": float(row.max()),
            "vppo/factor/mean": float(row.mean()),
        }

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """m of each token; S of each row, whose f depends on the batch."""
        settings, score = cls.Settings(), viewed_divergence(signals)
        scored = signals.policy & ~score.isnan()
        kept = most(score, scored, settings.kept)
        return Factors(kept.to(score.dtype), scored, mean_score(score, scored))

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """VPPO with its default settings; its placebo exchanges m in a row, and S among the rollouts of a question."""
        from verl_mapo.lens.estimators import grpo, token_weighted

        def weights(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
            return grpo(rollouts) * row_factor(rollouts.row_score.double(), rollouts.batch, cls.Settings().least)

        return token_weighted(cls.name, weights)

    panels = (
        Panel(
            "Divergence of a token under the changed image",
            (
                Curve("all tokens", "vppo/divergence/mean", BLUE),
                Curve("kept tokens", "vppo/divergence/kept", VERMILION),
            ),
            "k3 of the log-probs. If it is near zero for the kept tokens, too, answers do not depend on the images.",
        ),
    )
