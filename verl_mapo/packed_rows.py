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
