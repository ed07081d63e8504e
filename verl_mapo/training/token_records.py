# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tokens of a few rollouts in the records: each with its focus and its advantage under visual credit."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor

from verl_mapo.names import VGPO

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from verl_mapo.training.step_batch import StepBatch

TOKEN_ROLLOUTS = 32
"""Approximate number of rollouts of a batch whose tokens are recorded. A token takes about 25 bytes, so for rollouts of
4096 tokens this is 3 MB per step; a batch of 1024 would take 100 MB."""

_INCOMPLETE = "\ufffd"
"""The replacement character, which a tokenizer returns for a character of which bytes are missing."""

_MOST_HELD = 16
"""Largest number of tokens that are decoded together. Any character needs fewer; other bytes would never form one."""


def describe_tokens(step: StepBatch, tokenizer: PreTrainedTokenizerBase) -> dict[int, dict[str, Any]]:
    """The policy tokens of some rollouts, by row.

    Args:
        step: a batch with the result of visual credit, the multiplied ``advantages``, and ``responses``.
        tokenizer: the policy's tokenizer.

    Returns:
        For each token, ``tokens`` (its text), ``focus`` (None without a score) and ``advantage`` (0 if the loss leaves
        the token out); ``stretches``, the numbers of tokens that the model wrote between two observations; and
        ``trajectory_factor``. Numbers are rounded to four decimal places.
    """
    credited = step.results[VGPO]
    responses, advantages = step.rows("responses"), step.rows("advantages")
    decode = cache(tokenizer.decode)
    found = {}
    for row in _chosen(step):
        at = credited.written[row].nonzero().squeeze(1)
        after_gaps = (at.diff() > 1).nonzero().squeeze(1) + 1
        found[row] = {
            "tokens": pieces(responses[row][at].tolist(), decode),
            "focus": _rounded(credited.focus[row, at]),
            "advantage": _rounded(advantages[row][at]),
            "stretches": [len(stretch) for stretch in at.tensor_split(after_gaps)],
            "trajectory_factor": round(float(credited.factors.trajectory[row]), 4),
        }
    return found


def pieces(tokens: list[int], decode: Callable[[tuple[int, ...]], str]) -> list[str]:
    """The text of each token; joined, these texts are the text of all tokens.

    A character whose bytes are spread over several tokens is the text of the last of them; the others are empty.
    """
    found: list[str] = []
    held: tuple[int, ...] = ()
    for token in tokens:
        held += (token,)
        text = decode(held)
        whole = not text.endswith(_INCOMPLETE) or len(held) == _MOST_HELD
        found.append(text if whole else "")
        held = () if whole else held
    if held:
        found[-1] = decode(held)
    return found


def _chosen(step: StepBatch) -> list[int]:
    """Rows of whole groups in the order of their uids, which is random; the order of a batch depends on lengths."""
    groups: dict[str, list[int]] = {}
    for row, (uid, kept) in enumerate(zip(step.uids, step.not_padding.tolist(), strict=True)):
        if kept:
            groups.setdefault(uid, []).append(row)
    chosen: list[int] = []
    for uid in sorted(groups):
        if chosen and len(chosen) + len(groups[uid]) > TOKEN_ROLLOUTS:
            break
        chosen += groups[uid]
    return chosen


def _rounded(values: Tensor) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 4) for value in values.tolist()]
