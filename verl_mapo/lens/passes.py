# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's log-prob pass, which on request also returns the sketched gradient of each row's log-probs.

The gradient is that of the sum of the log-probs of a row's policy tokens with respect to the trainable linear layers of
the last decoder layers, of a full model or of LoRA's adapters. It is taken in the pass that computes the log-probs of
the step, through the engine that trains, in its precision. Nothing flows below the first of these layers, and no weight
gets a gradient.

Each token weighting that is asked for takes a further backward pass over the same graph, and another one with the
factors of its placebo (:mod:`verl_mapo.lens.token_weights`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor, nn
from transformers import PreTrainedModel
from verl.utils import tensordict_utils as tu

from verl_mapo.columns import GRADIENT_SKETCH
from verl_mapo.lens.gradients import linear_layers, row_gradients
from verl_mapo.lens.sketch import CountSketch
from verl_mapo.lens.token_weights import weightings
from verl_mapo.packed_rows import policy_tokens
from verl_mapo.torch_threads import torch_threads

SKETCH = GRADIENT_SKETCH.name
"""The column, and the key under which a batch asks for it (:meth:`verl_mapo.lens.method.Lens.log_prob_request`)."""

FSDP_WRAPPER = "_fsdp_wrapped_module."
"""What the wrappers of FSDP1 add to the names of layers, on which the buckets of a sketch depend."""

_SKETCHES: dict[tuple[int, int], CountSketch] = {}
"""By size and seed; a sketch keeps the buckets of the parameters that it has seen."""


def sketched_step(
    model: PreTrainedModel,
    micro_batch: TensorDict,
    request: dict[str, Any],
    step: Callable[[Callable[..., tuple[Tensor, dict]]], tuple[Tensor, dict]],
    given: Callable[[], dict[str, dict[str, Tensor]]],
) -> tuple[Tensor, dict]:
    """A forward step of verl whose ``model_output`` also holds ``gradient_sketch``, jagged, the same number a row.

    A row has M numbers of the plain gradient; then for each vector of each weighting, in the order of the request, M of
    the weighted gradient, and the score of the row.

    Args:
        model: the model of the engine.
        micro_batch: verl's micro-batch.
        request: ``size`` (M), ``seed``, ``layers``, the number of last decoder layers, None for all, and ``weights``,
            the names of the weightings with their requests to the pass.
        step: verl's forward step of this micro-batch; it takes the loss function, which alone sees outputs of verl
            that gradients flow through.
        given: gives, once the forward pass is done, what each weighting asked for: the first argument of
            :func:`verl_mapo.lens.token_weights.weightings`.
    """
    blocks = model.get_decoder().layers
    blocks = list(blocks)[-(request["layers"] or len(blocks)) :]
    offset = len(model.get_decoder().layers) - len(blocks)
    layers = {
        f"{offset + number}.{name}".replace(FSDP_WRAPPER, ""): layer
        for number, block in enumerate(blocks)
        for name, layer in linear_layers(block, lambda _: True).items()
        if layer.weight.requires_grad
    }
    key = request["size"], request["seed"]
    sketch = _SKETCHES.setdefault(key, CountSketch(*key))
    policy = policy_tokens(micro_batch["response_mask"].cpu(), micro_batch["input_ids"].offsets().cpu())
    found: list[Tensor] = []

    def backward(*, model_output: dict[str, Tensor], **_: Any) -> tuple[Tensor, dict]:
        log_probs = model_output["log_probs"].values()
        plain = policy.roll(-1).to(log_probs.device)  # verl's log-prob of a token lies one position before it
        fields = {"old_log_probs": log_probs.detach()}
        if "entropy" in model_output:
            fields["entropy"] = model_output["entropy"].values().detach()
        weighted = weightings(given(), fields, micro_batch, request["seed"])
        for left, (weight, row_score) in zip(range(len(weighted), -1, -1), [(plain, None), *weighted], strict=True):
            sketches.zero_()
            torch.autograd.grad(log_probs[plain] @ weight.to(log_probs)[plain], entered, retain_graph=left > 0)
            found.append(sketches.clone())
            if row_score is not None:
                found.append(row_score.to(sketches).unsqueeze(1))
        return torch.ones((), device=log_probs.device), {}

    with torch.enable_grad(), share_of_cores(model.device), cut_below(blocks[0]) as entered:
        with row_gradients(layers, row_places(micro_batch), sketch) as sketches:
            loss, output = step(backward)
    values = torch.cat(found, dim=1)
    ends = torch.arange(len(values) + 1, device=values.device) * values.shape[1]
    output["model_output"][SKETCH] = torch.nested.nested_tensor_from_jagged(values.flatten(), ends)
    return loss, output


def share_of_cores(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU, use all cores of this process, divided by the workers of the pass; on another device, change nothing.

    The CPU stack gives each process one thread (``verl_mapo.platforms.cpu``), and here all others wait.
    """
    if device.type != "cpu":
        return nullcontext()
    workers = dist.get_world_size() if dist.is_initialized() else 1
    return torch_threads(max(1, len(os.sched_getaffinity(0)) // workers))


@contextmanager
def cut_below(block: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that gets the states which enter a decoder layer, cut off from what made them."""
    entered: list[Tensor] = []

    def cut(_: nn.Module, given: tuple, options: dict) -> tuple[tuple, dict]:
        by_name = "hidden_states" in options
        states = (options["hidden_states"] if by_name else given[0]).detach().requires_grad_()
        entered.append(states)
        return (given, options | {"hidden_states": states}) if by_name else ((states, *given[1:]), options)

    handle = block.register_forward_pre_hook(cut, with_kwargs=True)
    try:
        yield entered
    finally:
        handle.remove()


def row_places(micro_batch: TensorDict) -> list[slice]:
    """Positions of each row in the states of a pass, packed one after another or padded to one width."""
    offsets = micro_batch["input_ids"].offsets().tolist()
    lengths = [end - begin for begin, end in zip(offsets, offsets[1:], strict=False)]
    if tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True):
        starts = offsets[:-1]
    else:
        starts = [row * max(lengths) for row in range(len(lengths))]
    return [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
