# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Visual credit (VGPO) in the trainer: requests focus scores, multiplies the advantages, adds metrics and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import grpo_advantage, has_policy_token
from verl_mapo.advantages.visual_credit import (
    BOUNDS,
    CHUNK,
    VisualCreditSettings,
    VisualFactors,
    apply_credit,
    token_factor,
    trajectory_factor,
    visual_factors,
)
from verl_mapo.columns import VISUAL_FOCUS
from verl_mapo.lens.token_weights import Factors, Signals
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.method import Method
from verl_mapo.training.token_records import describe_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from verl_mapo.lens.estimators import Estimator, Rollouts
    from verl_mapo.training.step_batch import StepBatch


class Credited(NamedTuple):
    """The results of visual credit; B rows, L response positions.

    Attributes:
        focus: (B, L) float32, NaN where a token has no score.
        written: (B, L), 1 on the policy tokens, including those of a source that are masked out of the loss.
        factors: the factors that the advantages were multiplied by.
    """

    focus: Tensor
    written: Tensor
    factors: VisualFactors


class VisualCredit(Method):
    """Multiplies the advantages of any estimator by the factors of :mod:`verl_mapo.advantages.visual_credit`.

    With ``algorithm.adv_estimator=vgpo``, the estimator is GRPO.
    """

    name = names.VGPO
    Settings = VisualCreditSettings
    columns = (VISUAL_FOCUS,)
    record_fields = ("responses",)
    record_keys = ("credit",)
    settings: VisualCreditSettings
    tokenizer: PreTrainedTokenizerBase
    visual_token_ids: list[int]

    @classmethod
    def enabled(cls, config: DictConfig) -> bool:
        """Whether a run applies the factors, as the method ``vgpo`` or on another estimator."""
        by_name = select(config, names.ADV_ESTIMATOR) == names.VGPO
        return by_name or bool(select(config, f"{names.VISUAL_CREDIT_NODE}.enable"))

    def check(self) -> None:
        """Check that the run has a log-prob pass; :mod:`verl_mapo.training.engines` has the engines with scores."""
        check_pass(self.config, "visual credit")

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """Check that the model has image tokens and the requested layer, and keep the ids of the image tokens."""
        model = select(self.config, names.MODEL_PATH)
        check_layer(self.settings.layer, model)
        self.visual_token_ids = visual_token_ids(processor, model)
        self.tokenizer = tokenizer

    def log_prob_request(self) -> dict[str, Any]:
        """The request that :class:`verl_mapo.training.method_engine.MethodEngine` answers with the focus scores."""
        return {VISUAL_FOCUS.name: focus_request(self.visual_token_ids, self.settings)}

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO, for ``algorithm.adv_estimator=vgpo``: :func:`verl_mapo.advantages.groups.grpo_advantage`."""
        return grpo_advantage(step.outcome, response_mask, step.comparison_group, by_std=self.norm_by_std)

    def after_advantage(self, step: StepBatch) -> None:
        """Multiply the advantages of the estimator by the factors (Eq. 7).

        Raises:
            ConfigError: the log-prob pass gave no scores.
        """
        score = scores_of(step)
        mask = step.padded("response_mask")
        live = has_policy_token(mask)
        if step.loss_mask is not None:
            # A source's tokens after its prefix are not in the loss, but still count in its trajectory score.
            mask = torch.where(step.continuation.unsqueeze(1), mask, step.loss_mask)
        factors = visual_factors(score, ~score.isnan(), mask, step.comparison_group, self.settings, live)
        step.write(advantages=apply_credit(step.padded("advantages"), factors, self.settings))
        step.results[names.VGPO] = Credited(score, mask, factors)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """See :func:`credit_metrics`."""
        credited: Credited = step.results[names.VGPO]
        return credit_metrics(credited.focus, credited.written, credited.factors, self.settings)

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """See :func:`verl_mapo.training.token_records.describe_tokens`."""
        return {row: {"credit": tokens} for row, tokens in describe_tokens(step, self.tokenizer).items()}

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """The token factors; the trajectory score of each row, whose factor depends on the group."""
        score = signals.values[VISUAL_FOCUS.name]
        scored = signals.policy & ~score.isnan()
        found = token_factor(score, scored, signals.policy, cls.Settings())
        return Factors(found.factor, scored, found.trajectory_score.masked_fill(~found.visual, torch.nan))

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """VGPO with its default settings; its placebo exchanges token factors in a row, and scores of rollouts."""
        from verl_mapo.lens.estimators import grpo, token_weighted

        def weights(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
            score = rollouts.row_score.double()
            factor = trajectory_factor(score.nan_to_num(0.0), ~score.isnan(), rollouts.group, cls.Settings())
            return grpo(rollouts) * factor

        return token_weighted(cls.name, weights)


def check_pass(config: DictConfig, reader: str) -> None:
    """Check that a run has a log-prob pass, in which scores can be read.

    Raises:
        ConfigError: it has none; ``reader`` is what reads the scores.
    """
    if select(config, names.BYPASS_MODE, False):
        raise ConfigError(
            f"{names.BYPASS_MODE}=True leaves out the log-prob pass in which {reader} reads its scores: set it to "
            "false."
        )


def scores_of(step: StepBatch) -> Tensor:
    """(B, L) float32, the focus scores that the log-prob pass gave; NaN where a token has none.

    Raises:
        ConfigError: it gave none.
    """
    score = step.response_values(VISUAL_FOCUS)
    if score is None:
        raise ConfigError(
            "The log-prob pass gave no visual focus, which visual credit needs: it comes from verl's fsdp or fsdp2 "
            "engine on NVIDIA and AMD GPUs and on the CPU stack (`verl-mapo doctor` shows what is registered)."
        )
    return score


def focus_request(visual_token_ids: list[int], settings: VisualCreditSettings) -> dict[str, Any]:
    """The request for focus scores that a batch carries to the log-prob pass.

    ``layers`` are those whose scores are averaged; -1 is the final norm. The others are arguments of
    :func:`verl_mapo.advantages.focus.plan_focus`.
    """
    return {
        "visual_token_ids": visual_token_ids,
        "prototype": settings.prototype,
        "position": settings.position,
        "layers": [settings.layer],
        "similarity": "mean_state",
    }


def visual_token_ids(processor: Any, model: str) -> list[int]:
    """Ids of the image and the video placeholder.

    Raises:
        ConfigError: the model has no image tokens.
    """
    ids = [getattr(processor, name, None) for name in ("image_token_id", "video_token_id")]
    if ids[0] is None:
        raise ConfigError(
            f"actor_rollout_ref.model.path={model} has no image tokens, which visual credit needs: use a "
            "vision-language model such as Qwen2.5-VL, or set algorithm.visual_credit.enable=false and another "
            "algorithm.adv_estimator."
        )
    return [token for token in ids if token is not None]


def check_layer(layer: int, model: str) -> None:
    """Check that a model has the layer whose states are requested.

    Args:
        layer: ``algorithm.visual_credit.layer``.
        model: folder or hub name of the model.

    Raises:
        ConfigError: it has fewer.
    """
    if layer >= 0 and layer >= (layers := number_of_layers(model)):
        raise ConfigError(
            f"algorithm.visual_credit.layer={layer}, but {model} has {layers} decoder layers: set it to -1 for the "
            f"final norm, or to at most {layers - 1}."
        )


def number_of_layers(model: str) -> int:
    """Number of decoder layers of a model, given as a folder or hub name."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model).get_text_config().num_hidden_layers


def credit_metrics(
    score: Tensor, response_mask: Tensor, factors: VisualFactors, settings: VisualCreditSettings
) -> dict[str, float]:
    """``visual_credit/*``: focus and factors of the policy tokens that have a score; empty where none has.

    ``late_over_early``: mean focus of the second half of a rollout's tokens divided by that of the first half; below 1
    if focus falls, and left out if the first halves have none. ``length_correlation``: correlation of the trajectory
    score with the number of policy tokens.
    ``at_bounds/*``: share of factors that ``clamp`` cut.

    Args:
        score: (B, L) float32, the focus, NaN where there is none.
        response_mask: (B, L), 1 on policy tokens.
        factors: the factors of the same rows.
        settings: only ``clamp`` is read.
    """
    rows = max(1, CHUNK // score.shape[1])
    parts = zip(*(each.split(rows) for each in (score, response_mask, factors.token, factors.gate)), strict=True)
    tokens = _TokenSums.over([_TokenSums.of(*part, BOUNDS.get(settings.clamp, ((),))[0]) for part in parts])
    if not tokens.count:
        return {}
    early_score = tokens.score - tokens.late_score
    length, visual = response_mask.bool().sum(dim=1), factors.visual
    trajectory = factors.trajectory[visual]
    metrics = {
        "cosine/mean": 2 * tokens.score / tokens.count - 1,
        "cosine/min": 2 * tokens.lowest_score - 1,
        "cosine/negative_share": tokens.negative / tokens.count,
        "late_over_early": (tokens.late_score / tokens.late)
        / (early_score.where(early_score > 0, torch.nan) / (tokens.count - tokens.late)),
        "gate_rate": tokens.gated / tokens.count,
        "visual_rows": visual.sum() / (length > 0).sum(),
        "token_factor/min": tokens.lowest_factor,
        "token_factor/max": tokens.highest_factor,
        "token_factor/mean": tokens.factor / tokens.count,
        "trajectory_factor/min": trajectory.min(),
        "trajectory_factor/max": trajectory.max(),
        "trajectory_factor/mean": trajectory.mean(),
    }
    pairs = torch.stack([factors.trajectory_score[visual], length[visual].double()])
    if pairs.shape[1] > 1:
        metrics["length_correlation"] = torch.corrcoef(pairs)[0, 1]
    if settings.clamp != "none":
        bounds = trajectory.new_tensor(BOUNDS[settings.clamp][1])
        metrics["at_bounds/token"] = tokens.at_bounds / tokens.count
        metrics["at_bounds/trajectory"] = torch.isin(trajectory, bounds).float().mean()
    return {f"visual_credit/{name}": float(value) for name, value in metrics.items() if not torch.isnan(value)}


class _TokenSums(NamedTuple):
    """Sums over the policy tokens that have a score; float64 numbers.

    Attributes:
        count: number of these tokens.
        score: sum of their focus.
        late: number of those in the second half of their rollout.
        late_score: sum of the focus of those.
        negative: number of those whose cosine is negative.
        gated: number of those whose weight is raised.
        factor: sum of their token factors.
        at_bounds: number of those whose factor is a bound of ``clamp``.
        lowest_score, lowest_factor, highest_factor: over these tokens.
    """

    count: Tensor
    score: Tensor
    late: Tensor
    late_score: Tensor
    negative: Tensor
    gated: Tensor
    factor: Tensor
    at_bounds: Tensor
    lowest_score: Tensor
    lowest_factor: Tensor
    highest_factor: Tensor

    @classmethod
    def of(
        cls, score: Tensor, response_mask: Tensor, factor: Tensor, gate: Tensor, bounds: tuple[float, ...]
    ) -> _TokenSums:
        """The sums of some rows, small enough for a core's cache; floats as masks, which multiply fast."""
        policy = response_mask.bool()
        scored, policy = (at.view(torch.uint8).to(score.dtype) for at in (policy & ~score.isnan(), policy))
        late = torch.gt(policy.cumsum(dim=1), policy.sum(dim=1, keepdim=True) / 2).view(torch.uint8).to(score.dtype)
        rho, late = score.nan_to_num(0.0).mul_(scored), late.mul_(scored)
        outside, most = 1 - scored, torch.finfo(score.dtype).max
        bound = sum(((factor == value).view(torch.uint8) * scored).sum() for value in bounds)
        values = (
            scored.sum(),
            rho.sum(),
            late.sum(),
            torch.mul(rho, late).sum(),
            ((rho < 0.5).view(torch.uint8) * scored).sum(),
            gate.view(torch.uint8).mul(scored).sum(),
            torch.mul(factor, scored).sum(),
            torch.as_tensor(bound),
            (outside * most).add_(rho).amin(),
            (outside * most).add_(factor).amin(),
            (outside * -most).add_(factor).amax(),
        )
        return cls(*torch.stack([value.to(score.dtype) for value in values]).double())

    @classmethod
    def over(cls, parts: list[_TokenSums]) -> _TokenSums:
        """The sums of all rows."""
        values = torch.stack([torch.stack(part) for part in parts])
        *sums, lowest_score, lowest_factor, highest_factor = values.unbind(dim=1)
        return cls(*(each.sum() for each in sums), lowest_score.amin(), lowest_factor.amin(), highest_factor.amax())
