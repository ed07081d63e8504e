# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The factors of token-weighted estimators inside a log-prob pass, each with its placebo.

The lens keeps one vector a rollout for each weighting f: the gradient of sum_t f_t log pi_t. That suffices where f
depends on the rollout alone; what depends on the group or the batch, such as the advantage and the trajectory factors
of VGPO and VPPO, is one number a rollout, which the comparison multiplies. A method gives f in
:meth:`verl_mapo.training.method.Method.token_factors`, with the default values of its settings.

The placebo exchanges the factors among the tokens of a row that have a signal: the same factors, in the same row, which
say nothing about their tokens. A method whose placebo exchanges something else, such as AXPO, has no such vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from verl_mapo.packed_rows import from_response, to_response

if TYPE_CHECKING:
    from verl_mapo.training.method import Method


class Signals(NamedTuple):
    """What the log-prob pass gave of B rows with L response positions.

    Attributes:
        policy: (B, L) bool, the policy tokens.
        values: by name, (B, L) or, of a column with one number a row, (B,): the columns and fields of verl that the
            method reads; float32 columns of a pass are NaN where a token has no value.
    """

    policy: Tensor
    values: dict[str, Tensor]


class Factors(NamedTuple):
    """The factors of B rows with L response positions.

    Attributes:
        factor: (B, L) float32.
        part: (B, L) bool or integer; the placebo exchanges the factors of a row among tokens with the same number, and
            leaves those with 0. None if no placebo exchanges factors.
        row_score: (B,) float64, the number that the group or the batch compares, NaN in a row that has none; None if
            there is no such number.
    """

    factor: Tensor
    part: Tensor | None = None
    row_score: Tensor | None = None


def placebo(name: str) -> str:
    """The name of a weighting's placebo, in a collection and in the table."""
    return f"{name}, shuffled"


def vectors_of(name: str) -> list[str]:
    """The vectors that the lens takes for a token weighting: those that the method's rows of the table weigh."""
    from verl_mapo.training.methods import find_method  # which imports the lens

    return list(dict.fromkeys(row.tokens for row in find_method(name).lens_rows()))


@torch.no_grad()
def weightings(
    given: dict[str, dict[str, Tensor]], fields: dict[str, Tensor], micro_batch: TensorDict, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """The weights of all positions of a micro-batch, for each of the vectors of each weighting.

    Args:
        given: name of a weighting to the columns that it asked the pass for, by name: (N,) float32 at packed positions,
            each value one position before its token, NaN where there is none.
        fields: the fields of verl that the pass gave, by name, laid out in the same way.
        micro_batch: verl's micro-batch.
        seed: of the placebos.

    Returns:
        for each vector (N,) float32 on the CPU, and (B,) float64, the score of each row.
    """
    from verl_mapo.training.methods import find_method  # which imports the lens

    ids, masks = micro_batch["input_ids"].cpu(), micro_batch["response_mask"].cpu()
    policy = padded(masks) != 0
    offsets, lengths = ids.offsets(), masks.offsets().diff()
    seeds = [seed + int(row.sum()) for row in ids.unbind()]
    weighted = []
    for name, columns in given.items():
        method = find_method(name)
        found = method.token_factors(signals(method, columns | fields, micro_batch, policy))
        none = found.factor.new_full((len(policy),), torch.nan, dtype=torch.float64)
        row_score = none if found.row_score is None else found.row_score
        for vector in vectors_of(name):
            factor = found.factor if vector == name else exchange(found.factor, found.part, seeds)
            weighted.append((from_response(factor, offsets, lengths), row_score))
    return weighted


def signals(method: type[Method], packed: dict[str, Tensor], micro_batch: TensorDict, policy: Tensor) -> Signals:
    """What a method reads, of a micro-batch.

    Args:
        method: the method.
        packed: by name, (N,) at packed positions, each value one position before its token.
        micro_batch: verl's micro-batch, which holds the columns that were there before the pass.
        policy: (B, L) bool, the policy tokens.

    Raises:
        RuntimeError: something is missing.
    """
    offsets, lengths = micro_batch["input_ids"].offsets().cpu(), micro_batch["response_mask"].offsets().diff().cpu()
    values = {}
    for name in (*(column.name for column in method.required_columns or method.columns), *method.fields):
        if name in packed:
            values[name] = to_response(packed[name].cpu().float(), offsets, lengths, torch.nan)
        elif name in micro_batch.keys():
            column = micro_batch[name].cpu()
            values[name] = column if column.ndim == 1 else padded(column)
        else:
            raise RuntimeError(f"The log-prob pass gave no {name}, which the weights of {method.name} need.")
    return Signals(policy, values)


def padded(rows: Tensor) -> Tensor:
    """(B, L): jagged rows with 0 after their end, as wide as the longest.

    torch's ``to_padded_tensor`` makes rows as wide as all of them together where a jagged tensor was made of offsets.
    """
    return pad_sequence(list(rows.unbind()), batch_first=True)


def exchange(factor: Tensor, part: Tensor, seeds: list[int]) -> Tensor:
    """(B, L): the factors of each row exchanged at random among its tokens of the same part.

    Args:
        factor: (B, L).
        part: (B, L) bool or integer, see :class:`Factors`.
        seeds: one a row, so that a row's placebo does not depend on its micro-batch.
    """
    exchanged = factor.clone()
    for row, (at, seed) in enumerate(zip(part, seeds, strict=True)):
        random = torch.Generator().manual_seed(seed)
        for number in at[at != 0].unique():
            there = (at == number).nonzero().squeeze(1)
            exchanged[row, there] = factor[row, there[torch.randperm(len(there), generator=random)]]
    return exchanged
