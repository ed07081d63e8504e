# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The fixed point of a resampled tool call: where a rollout's first call begins, and how sure the policy was of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from verl_mapo.rollout.parser import CLOSE, OPEN
from verl_mapo.rollout.state import LoopState
from verl_mapo.settings import ConfigError


@dataclass(frozen=True)
class FirstCall:
    """The first tool call of a rollout (AXPO: only the first is ever a fixed point).

    Attributes:
        length: tokens of the response up to and with the opening tag, after which a continuation writes on.
        confidence: mean probability of the call's tokens under the policy that sampled them, tags left out [the paper:
            the arithmetic mean over the tool call's tokens; that the tags stay out is ours].
        entropy: their mean surprisal in nats, an estimate of the policy's entropy from its own sample [ours].
    """

    length: int
    confidence: float
    entropy: float


class FirstCallFinder:
    """Finds first calls by the tokens of the tags, never by text: what is continued is exactly what was sampled.

    Args:
        tokenizer: in which both tags are one token each, as in the Qwen families.

    Raises:
        ConfigError: a tag is not one token of this tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.open, self.close = (_one_token(tokenizer, tag) for tag in (OPEN, CLOSE))

    def first_call(self, state: LoopState) -> FirstCall | None:
        """The first call of a finished rollout; None where no token follows an opening tag."""
        turn = next((turn for turn in state.trajectory.turns if turn.called), None)
        if turn is None:
            return None
        begin, end = turn.span
        tokens = state.response_ids[begin:end]
        if self.open not in tokens[:-1]:
            return None
        length = begin + tokens.index(self.open) + 1
        call = state.response_ids[length:end]
        size = call.index(self.close) if self.close in call else len(call)
        logprobs = state.response_logprobs[length : length + max(size, 1)]
        return FirstCall(length, fmean(map(math.exp, logprobs)), -fmean(logprobs))


def _one_token(tokenizer: PreTrainedTokenizerBase, tag: str) -> int:
    ids = tokenizer.encode(tag, add_special_tokens=False)
    if len(ids) != 1:
        raise ConfigError(
            f"algorithm.adv_estimator=axpo cuts rollouts behind {tag}, which is {len(ids)} tokens "
            f"({tokenizer.convert_ids_to_tokens(ids)}) for this model's tokenizer and may merge with what follows: use "
            f"a model whose tokenizer has {tag} as one token, as Qwen2.5-VL's and Qwen3-VL's have."
        )
    return ids[0]
