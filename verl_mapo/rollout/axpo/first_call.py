# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The position at which a rollout's first tool call starts, and the policy's mean probability of that call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from verl_mapo.names import ADV_ESTIMATOR, AXPO
from verl_mapo.rollout.parser import CLOSE, OPEN
from verl_mapo.rollout.state import LoopState
from verl_mapo.rollout.tag_tokens import one_token


@dataclass(frozen=True)
class FirstCall:
    """The first tool call of a rollout. AXPO starts continuations there and nowhere else.

    Attributes:
        prefix_length: response tokens up to and including the opening tag, after which a continuation goes on.
        confidence: mean probability of the call's tokens under the policy that sampled them, without the tags [paper:
            the arithmetic mean over the tool call's tokens; ours: the tags are left out].
        entropy: mean of their negative log-probabilities in nats, an estimate of the policy's entropy [ours].
    """

    prefix_length: int
    confidence: float
    entropy: float


class FirstCallFinder:
    """Finds first calls by the tokens of the tags, not by text, so that a continuation gets the sampled tokens.

    Args:
        tokenizer: the model's tokenizer, in which each tag must be one token, as in the Qwen families.

    Raises:
        ConfigError: a tag is not one token of this tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.open, self.close = (
            one_token(tokenizer, tag, f"{ADV_ESTIMATOR}={AXPO} cuts rollouts after") for tag in (OPEN, CLOSE)
        )

    def first_call(self, state: LoopState) -> FirstCall | None:
        """The first call of a finished rollout; None where there is none, its opening tag is not one
        token, or no token follows it."""
        turn = next((turn for turn in state.trajectory.turns if turn.called), None)
        if turn is None:
            return None
        prefix_length, end = turn.call_start, turn.span[1]
        if prefix_length is None or prefix_length >= end or state.response_ids[prefix_length - 1] != self.open:
            return None
        call = state.response_ids[prefix_length:end]
        size = call.index(self.close) if self.close in call else len(call)
        logprobs = state.response_logprobs[prefix_length : prefix_length + max(size, 1)]
        return FirstCall(prefix_length, fmean(map(math.exp, logprobs)), -fmean(logprobs))
