# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the tokens of a micro-batch lie, packed or padded."""

from __future__ import annotations

import torch
from torch import Tensor


def policy_tokens(response_mask: Tensor, offsets: Tensor) -> Tensor:
    """(N,) bool at packed positions: the policy tokens; a row's response is its end."""
    policy = torch.zeros(int(offsets[-1]), dtype=torch.bool)
    for mask, stop in zip(response_mask.unbind(), offsets[1:].tolist(), strict=True):
        policy[stop - len(mask) : stop] = mask.bool()
    return policy


def padded_index(offsets: Tensor, width: int) -> Tensor:
    """(N,) index of each packed position in rows that are padded to one width and concatenated."""
    lengths = offsets.diff()
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return torch.arange(int(offsets[-1])) - offsets[row] + row * width


def to_response(packed: Tensor, offsets: Tensor, lengths: Tensor, padding: float) -> Tensor:
    """(B, L): the values of the response tokens, each stored one position before its token, as verl's log-probs are.

    Args:
        packed: (N,) float.
        offsets: (B + 1,) int64, where each row starts, and N.
        lengths: (B,) int64, response tokens of each row, which are its end; every row has a prompt.
        padding: the value after a row's end.
    """
    rows = packed.new_full((len(lengths), int(lengths.max())), padding)
    for row, (stop, length) in enumerate(zip(offsets[1:].tolist(), lengths.tolist(), strict=True)):
        rows[row, :length] = packed[stop - length - 1 : stop - 1]
    return rows


def from_response(rows: Tensor, offsets: Tensor, lengths: Tensor) -> Tensor:
    """(N,): the inverse of :func:`to_response`, 0 elsewhere."""
    packed = rows.new_zeros(int(offsets[-1]))
    for row, stop, length in zip(rows, offsets[1:].tolist(), lengths.tolist(), strict=True):
        packed[stop - length - 1 : stop - 1] = row[:length]
    return packed
