# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""SRPO (arXiv 2605.07274), **a reconstruction** from the abstract: formulas and corruption were not read.

The abstract says: GRPO's advantage of a sequence is refined into advantages of tokens by role; perception tokens are
emphasised by their visual dependency (original against corrupted input), reasoning tokens by their consistency with the
perception; both are unified through a shared baseline. One reader adds that the sign of the reward is kept and that the
baseline is that of the trajectory. The equations are ours, with the numbers of docs/papers.md:

    Eq. 1   P = the policy tokens of the written perception: labels of calls, or text between tags;  R = the others
    Eq. 2   s_t  = k3(log q_t - log p_t)              t in P; q: the image is corrupted
    Eq. 3   s_t  = max(0, log p_t - log r_t)          t in R; r: the perception is removed from the row; 0 before it
    Eq. 4   u_t  = minmax(s)_t                        over the tokens of the role in the row
    Eq. 5   f_t  = 1 + a (u_t - mean(u))              the mean is over the same tokens; 0 <= a < 1
    Eq. 6   A'_t = A f_t                              A: GRPO's advantage, the baseline that all roles share

The factors are positive, on one scale, and have mean 1 over the tokens of each role in each row: credit moves within a
role, and no role gains by being longer. A token whose signal is missing has factor 1: P in a row without an image, R in
a row without a written perception.

Eq. 3 counts a token as consistent as far as the written perception makes it more probable. Before the first token of
the perception, p and r have the same context and differ by rounding alone, which Eq. 4 would scale to 1. The score of
the alignment scorer is not taken in its place: it tells whether a crop shows its label, and is one number for a whole
turn.
"""

from __future__ import annotations

import re
from dataclasses import field
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import torch
import transfer_queue as tq
from pydantic import Field
from pydantic.dataclasses import dataclass
from tensordict import TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta

from verl_mapo import names
from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.charts import BLUE, VERMILION, Curve, Panel
from verl_mapo.columns import PERCEPTION, UNSEEN_LOG_PROBS
from verl_mapo.lens.token_weights import Factors, Signals
from verl_mapo.settings import STRICT, ConfigError
from verl_mapo.training.view_method import OLD_LOG_PROBS, ViewMethod, default_view, viewed_divergence
from verl_mapo.views.divergence import min_max
from verl_mapo.views.passes import VIEWS
from verl_mapo.views.pixels import ViewSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from verl_mapo.lens.estimators import Estimator
    from verl_mapo.training.step_batch import StepBatch

_LABELS = (
    r"""(["'])label\1\s*:\s*(["'])(?P<text>(?:(?!\2)[^\\\n]|\\.)*)\2""",
    r"<parameter=label\s*>\s*(?P<text>.*?)\s*</parameter>",
)
"""The label in the arguments of a call: in quotes, as in JSON and Python, and in the XML form of Qwen3.5. Of the forms
that :mod:`verl_mapo.rollout.dialects` reads, typographic quotes are left out."""

_TAGGED = r"<{0}>(?P<text>(?:(?!<{0}>).)*?)</{0}>"
"""The text of a tag, from the last of several openings; :mod:`verl_mapo.rollout.parser` reads descriptions so, too."""


@dataclass(frozen=True, config=STRICT)
class SrpoSettings:
    """Settings of the reconstruction, ``algorithm.srpo``; all of them are ours.

    Attributes:
        strength: a, in [0, 1): the largest change of a factor by Eq. 5. 0 is GRPO.
        labels: whether the labels of calls are perception.
        tags: tags whose text is perception: ``description`` for ``<description>...</description>``.
        reasoning: whether reasoning tokens have factors, which takes a second further pass.
        view: how the images are changed; the default is VPPO's.
    """

    NODE: ClassVar[str] = "algorithm.srpo"

    strength: Annotated[float, Field(ge=0, lt=1)] = 0.5
    labels: bool = True
    tags: list[Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*$")]] = field(default_factory=lambda: ["description"])
    reasoning: bool = True
    view: ViewSettings = field(default_factory=default_view("squares"))


class PerceptionSpans:
    """Finds the tokens of the written perception (Eq. 1).

    A token of a byte-level vocabulary, as those of the Qwen families are, is written as one character for each of its
    bytes, of which ASCII other than spaces stands for itself. So tags are found in the joined tokens of a response, and
    the place of every character is known.

    Args:
        tokenizer: of the model.
        labels: see :class:`SrpoSettings`.
        tags: see :class:`SrpoSettings`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: bool, tags: Sequence[str]):
        self.tokenizer = tokenizer
        of_labels = [each.replace(r"\s", "[ĠĊĉč]") for each in _LABELS] if labels else []
        self.patterns = [re.compile(each) for each in (*of_labels, *map(_TAGGED.format, tags))]

    def of(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(R,) int64, 1 on the policy tokens with a character of a perception.

        Args:
            ids: (R,) the response.
            mask: (R,) 1 on the policy's own tokens.
        """
        tokens = self.tokenizer.convert_ids_to_tokens(ids.tolist())
        # what the policy did not write ends a pattern, and so does an id behind the vocabulary, which has no token
        tokens = [token if own and token else "\n" for token, own in zip(tokens, mask.tolist(), strict=True)]
        ends = torch.tensor(list(accumulate(map(len, tokens))))
        starts, text = torch.cat([ends.new_zeros(1), ends[:-1]]), "".join(tokens)
        found = torch.zeros_like(ids, dtype=torch.int64)
        for pattern in self.patterns:
            for match in pattern.finditer(text):
                begin, end = match.span("text")
                found |= ((starts < end) & (ends > begin)).long()
        return found


@torch.no_grad()
def role_factor(signal: Tensor, role: Tensor, strength: float = 0.5) -> Tensor:
    """The factor of the tokens of one role (Eq. 4 and 5); a row's factors depend on that row alone.

    Args:
        signal: (B, L) float, s; not read outside of the role.
        role: (B, L) bool, the tokens of the role that have a signal.
        strength: a.

    Returns:
        (B, L) in the dtype of ``signal``, 1 outside of the role.
    """
    share = min_max(signal, role)
    mean = share.sum(dim=1, keepdim=True) / role.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.where(role, 1 + strength * (share - mean), 1.0)


class SrpoFactors(NamedTuple):
    """Result of :func:`srpo_factors`, all of (B, L).

    Attributes:
        dependency: float, s of Eq. 2, NaN where a row has no corrupted view.
        perception: bool, P, where it has a signal.
        support: float, s of Eq. 3, NaN where a row has no perception.
        reasoning: bool, R, where it has a signal.
        factor: float, f; 1 elsewhere.
    """

    dependency: Tensor
    perception: Tensor
    support: Tensor
    reasoning: Tensor
    factor: Tensor


@torch.no_grad()
def srpo_factors(
    dependency: Tensor, support: Tensor, written: Tensor, policy: Tensor, strength: float = 0.5
) -> SrpoFactors:
    """The factors of both roles (Eq. 2 to 5); a row's factors depend on that row alone.

    Args:
        dependency: (B, L) float, s of Eq. 2; NaN where there is none.
        support: (B, L) float, log p - log r; NaN where there is none.
        written: (B, L) bool, the tokens of the written perception.
        policy: (B, L) bool, the policy tokens.
        strength: a.
    """
    perception = policy & written & ~dependency.isnan()
    reasoning = policy & ~written & ~support.isnan()
    written_later = (written & policy).cumsum(dim=1) == 0
    support = torch.where(written_later & reasoning, 0.0, support.clamp_min(0))
    factor = role_factor(dependency, perception, strength) * role_factor(support, reasoning, strength)
    return SrpoFactors(dependency, perception, support, reasoning, factor)


class Srpo(ViewMethod):
    """GRPO with the factors of :func:`role_factor` for both roles; a reconstruction."""

    name = names.SRPO
    Settings = SrpoSettings
    columns = (*ViewMethod.columns, PERCEPTION, UNSEEN_LOG_PROBS)
    settings: SrpoSettings

    def check(self) -> None:
        """Check that something counts as perception."""
        super().check()
        if not self.settings.labels and not self.settings.tags:
            raise ConfigError(
                f"{SrpoSettings.NODE}.labels=false with {SrpoSettings.NODE}.tags=[] leaves no perception in any row: "
                f"set labels=true, or tags=[description]."
            )

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """See :meth:`ViewMethod.check_model`; makes the finder of perception."""
        super().check_model(tokenizer, processor)
        self.spans = PerceptionSpans(tokenizer, self.settings.labels, self.settings.tags)

    def before_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Write :data:`~verl_mapo.columns.PERCEPTION`."""
        fields = ["responses", "response_mask"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        rows = [self.spans.of(*row) for row in zip(*(data[name].unbind() for name in fields), strict=True)]
        column = TensorDict(
            {PERCEPTION.name: torch.nested.as_nested_tensor(rows, layout=torch.jagged)}, batch_size=len(rows)
        )
        extra = batch.extra_info
        batch = tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=column)
        batch.extra_info.update(extra)
        return batch

    def log_prob_request(self) -> dict[str, Any]:
        """The view with corrupted images, and the view without the perception."""
        request = super().log_prob_request()
        if self.settings.reasoning:
            request[VIEWS][UNSEEN_LOG_PROBS.name] = {"hidden": PERCEPTION.name}
        return request

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """GRPO's advantages times the factors (Eq. 6)."""
        written = step.fields[PERCEPTION.name].to_padded_tensor(0).bool()
        dependency = self.divergence(step)
        unseen = step.response_values(UNSEEN_LOG_PROBS) if self.settings.reasoning else None
        if unseen is None:
            unseen = torch.full_like(dependency, torch.nan)
        support = step.fields[OLD_LOG_PROBS].to_padded_tensor(0.0) - unseen
        found = srpo_factors(dependency, support, written, response_mask != 0, self.settings.strength)
        step.results[self.name] = found
        return grpo_advantage(step.outcome, response_mask, step.group, by_std=self.norm_by_std).mul_(found.factor)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``srpo/*``: share of perception tokens, mean signal of both roles, smallest and largest factor."""
        dependency, perception, support, reasoning, factor = step.results[self.name]
        rows = step.not_padding.unsqueeze(1)
        roles = perception & rows, reasoning & rows
        every = roles[0] | roles[1]
        signals = {"dependency": dependency[roles[0]], "support": support[roles[1]]}
        metrics = {
            f"srpo/{name}/mean": float(values.double().mean()) for name, values in signals.items() if len(values)
        }
        policy = (step.padded("response_mask") != 0) & rows
        metrics["srpo/perception_share"] = float(roles[0].sum() / policy.sum().clamp_min(1))
        if every.any():
            of_roles = factor[every]
            metrics |= {"srpo/factor/min": float(of_roles.min()), "srpo/factor/max": float(of_roles.max())}
        return metrics

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """The factors of a row, which depend on that row alone; a placebo exchanges those of each role."""
        found = srpo_factors(
            viewed_divergence(signals),
            signals.values[OLD_LOG_PROBS] - signals.values[UNSEEN_LOG_PROBS.name],
            signals.values[PERCEPTION.name].bool(),
            signals.policy,
            cls.Settings().strength,
        )
        return Factors(found.factor, found.perception + 2 * found.reasoning)

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """SRPO with its default settings; its placebo exchanges the factors of a role in a row."""
        from verl_mapo.lens.estimators import token_weighted

        return token_weighted(cls.name)

    panels = (
        Panel(
            "Tokens of the written perception",
            (Curve("of the policy tokens", "srpo/perception_share", BLUE),),
            "At zero, no label and no tag is found, and only reasoning tokens would have factors.",
            share=True,
        ),
        Panel(
            "Signals of the roles",
            (
                Curve("perception: divergence under the corrupted image", "srpo/dependency/mean", BLUE),
                Curve("reasoning: support by the perception", "srpo/support/mean", VERMILION),
            ),
            "Near zero, tokens of that role do not depend on the image, or on the perception.",
        ),
    )
