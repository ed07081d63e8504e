# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from verl_mapo.lens.gradients import linear_layers, row_gradients
from verl_mapo.lens.sketch import CountSketch

SKETCH = CountSketch(97, seed=5)


class Tower(nn.Module):
    """An attention over each row alone, between linear layers; packed rows are told apart by a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.first, self.query, self.out = nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 11)

    def forward(self, ids: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(self.embed(ids)))
        scores = self.query(hidden) @ hidden.transpose(-1, -2)
        allowed = (row.unsqueeze(-1) == row.unsqueeze(-2)) & torch.ones(scores.shape[-2:]).tril().bool()
        hidden = hidden + scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ hidden
        return self.out(hidden).log_softmax(-1)


def loss(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return log_probs[..., :-1, :].gather(-1, ids[..., 1:, None]).squeeze(-1)


@pytest.fixture
def tower() -> Tower:
    torch.manual_seed(0)
    return Tower()


def single(tower: Tower, ids: torch.Tensor) -> torch.Tensor:
    """The sketch of one row's gradient from a backward pass of its own."""
    tower.zero_grad()
    loss(tower(ids, torch.zeros_like(ids)), ids).sum().backward()
    found = torch.zeros(1, SKETCH.size)
    for name, layer in linear_layers(tower, lambda _: True).items():
        SKETCH.add(found, name, layer.weight.grad.reshape(1, -1))
    return found[0]


@pytest.mark.parametrize("packed", [True, False])
def test_one_pass_has_the_gradients_of_single_passes(tower, packed):
    rows = [torch.randint(11, (length,), generator=torch.Generator().manual_seed(length)) for length in (5, 9, 3)]
    expected = torch.stack([single(tower, ids) for ids in rows])
    tower.zero_grad()
    tower.requires_grad_(False)
    tower.embed.register_forward_hook(lambda _, __, output: output.requires_grad_())
    if packed:
        ids, row = torch.cat(rows), torch.repeat_interleave(torch.arange(3), torch.tensor([5, 9, 3]))
        places = [slice(0, 5), slice(5, 14), slice(14, 17)]
    else:
        ids, row = torch.zeros(3, 9, dtype=torch.long), torch.arange(3).unsqueeze(1).expand(3, 9).clone()
        for number, each in enumerate(rows):
            ids[number, : len(each)] = each
        places = [slice(0, 5), slice(9, 18), slice(18, 21)]
    with row_gradients(linear_layers(tower, lambda _: True), places, SKETCH) as found:
        each = loss(tower(ids, row), ids)
        if packed:
            each = each * (row[1:] == row[:-1])
        else:
            each = each * torch.stack([torch.arange(8) < len(ids) - 1 for ids in rows])
        each.sum().backward()
    assert torch.allclose(found, expected, atol=1e-4)
    assert all(parameter.grad is None for parameter in tower.parameters()), "no weight has a gradient of its own"


def test_layers_are_chosen_by_name_and_hooks_are_taken_away(tower):
    layers = linear_layers(tower, lambda name: name != "out")
    assert [*layers] == ["first", "query"]
    with pytest.raises(RuntimeError, match="no gradient of first, one of 2 such layers"):
        with row_gradients(layers, [slice(0, 4)], SKETCH):
            assert tower.query._forward_hooks
    assert not tower.query._forward_hooks and not tower.query._backward_hooks
