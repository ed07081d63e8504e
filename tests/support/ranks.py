# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One rank of an update, to be spawned: verl's own iterator over mini-batches and verl's own loss, less the model."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import distributed
from verl.trainer.ppo.core_algos import agg_loss
from verl.utils.tensordict_utils import make_iterator

from verl_mapo.training.minibatches import stratified_order


def token_weights(rank: int, ranks: int, rows: dict[str, torch.Tensor], steps: int, mode: str, out: str) -> None:
    """One rank's part of an update, with verl's own iterator and loss: the gradient of each token, and the steps."""
    distributed.init_process_group("gloo", init_method=f"file://{out}/rendezvous-{ranks}", rank=rank, world_size=ranks)
    kinds = torch.where(rows["live"], rows["role"], -1).tolist()
    order = torch.tensor(stratified_order(kinds, ranks, steps)).chunk(ranks)[rank]
    data = TensorDict(
        {**{name: rows[name][order] for name in ("response_mask", "loss_mask")}, "row": order}, len(order)
    )
    weights, taken = torch.zeros(rows["loss_mask"].shape), 0
    for batch in make_iterator(data, mini_batch_size=len(order) // steps, epochs=1):
        tokens = batch["loss_mask"].sum()
        distributed.all_reduce(tokens)
        token_loss = torch.zeros(batch["loss_mask"].shape, requires_grad=True)
        agg_loss(token_loss, batch["response_mask"], mode, ranks, tokens.item(), rows["originals"] // steps).backward()
        weights[batch["row"]] += token_loss.grad / ranks
        taken += 1
    distributed.all_reduce(weights)
    if rank == 0:
        torch.save((weights, taken), f"{out}/weights-{ranks}.pt")
    distributed.destroy_process_group()
