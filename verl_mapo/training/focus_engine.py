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
"""verl's FSDP engines with one more output of a forward pass that is asked for it: where the response looks.

A log-prob pass makes the final hidden states anyway; a hook reduces them to one number a token while they are there
(:mod:`verl_mapo.advantages.focus`) and keeps none of them. Passes that do not ask are verl's own, and so are the logits
of those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, distributed, nn
from transformers import PreTrainedModel
from verl.utils import tensordict_utils as tu
from verl.utils.ulysses import get_ulysses_sequence_parallel_group, get_ulysses_sequence_parallel_rank
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from verl_mapo.advantages.focus import FocusPlan, focus_scores, image_sums, plan_focus

FOCUS = VISUAL_FOCUS.name
"""The column, and the key under which a batch asks for it (:meth:`VisualCredit.log_prob_request`)."""


class FocusEngine(FSDPEngineWithLMHead):
    """Registered wherever verl's engine is, in the slot of a vendor, which takes precedence over the device's."""

    def forward_step(self, micro_batch: TensorDict, loss_function: Any, forward_only: bool) -> tuple[Tensor, dict]:
        request = tu.get_non_tensor_data(data=micro_batch, key=FOCUS, default=None)
        if request is None or not forward_only:
            return super().forward_step(micro_batch, loss_function, forward_only)
        plan, columns = _plan(micro_batch, request)
        states = _states_of(self.module, request["layer"])
        with reduced(states, lambda hidden: self._score(hidden.flatten(0, 1), plan)) as found:
            loss, output = super().forward_step(micro_batch, loss_function, forward_only)
        (scores,) = found
        if request["position"] == "own":  # verl has the log-prob of a token one position before it
            scores = scores.roll(-1)
        if columns is not None:
            scores = scores[columns.to(scores.device)]
        offsets = micro_batch["input_ids"].offsets().to(scores.device)
        output["model_output"][FOCUS] = torch.nested.nested_tensor_from_jagged(scores, offsets)
        return loss, output

    @torch.no_grad()
    def _score(self, hidden: Tensor, plan: FocusPlan) -> Tensor:
        """(N,) float32 scores of the plan's states; verl's padding behind them has none.

        Each rank of sequence parallelism holds a part of the states and gets the scores of all.
        """
        length = len(plan.wanted)
        if not self.use_ulysses_sp:
            hidden = hidden[:length]
            return focus_scores(hidden, image_sums(hidden, plan), plan)
        mine = len(hidden)
        begin = get_ulysses_sequence_parallel_rank() * mine
        part = plan.shard(begin, begin + mine)
        sums = image_sums(hidden, part)
        distributed.all_reduce(sums, group=get_ulysses_sequence_parallel_group())
        padding = mine * self.ulysses_sequence_parallel_size - length
        return self._gather_and_unpad_packed(focus_scores(hidden, sums, part), padding)


@contextmanager
def reduced(module: nn.Module, reduce: Callable[[Tensor], Tensor]) -> Iterator[list[Tensor]]:
    """What ``reduce`` makes of the output of each call of a module while the ``with`` block runs."""
    found: list[Tensor] = []

    def read(_: nn.Module, __: tuple, output: Any) -> None:
        found.append(reduce(output[0] if isinstance(output, tuple) else output))

    handle = module.register_forward_hook(read)
    try:
        yield found
    finally:
        handle.remove()


def _states_of(model: PreTrainedModel, layer: int) -> nn.Module:
    """The module whose output is wanted: the text tower's final norm (-1), or one of its decoder layers."""
    tower = model.get_decoder()
    return tower.norm if layer < 0 else tower.layers[layer]


def _plan(micro_batch: TensorDict, request: dict[str, Any]) -> tuple[FocusPlan, Tensor | None]:
    """What to read of the states as verl lays them out, and where the packed positions lie in it: None if packed."""
    input_ids = micro_batch["input_ids"].cpu()
    ids, offsets = input_ids.values(), input_ids.offsets()
    policy = _policy(micro_batch["response_mask"].cpu(), offsets)
    columns = None
    if not tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True):
        rows, width = len(offsets) - 1, int(offsets.diff().max())
        columns = _columns(offsets, width)
        ids, policy = (_spread(values, columns, rows * width) for values in (ids, policy))
        offsets = torch.arange(rows + 1) * width
    plan = plan_focus(ids, policy, offsets, request["visual_token_ids"], request["prototype"], request["position"])
    return plan, columns


def _policy(response_mask: Tensor, offsets: Tensor) -> Tensor:
    """(N,) bool on the packed positions of whole rows, whose responses are their ends."""
    policy = torch.zeros(int(offsets[-1]), dtype=torch.bool)
    for mask, stop in zip(response_mask.unbind(), offsets[1:].tolist(), strict=True):
        policy[stop - len(mask) : stop] = mask.bool()
    return policy


def _columns(offsets: Tensor, width: int) -> Tensor:
    """(N,) where each packed position lies in rows padded to one width and laid end to end."""
    lengths = offsets.diff()
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return torch.arange(int(offsets[-1])) - offsets[row] + row * width


def _spread(values: Tensor, columns: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_copy_(0, columns, values)


for _backend in ("fsdp", "fsdp2"):
    for _device, _vendors in {"cuda": ["nvidia", "amd"], "cpu": ["cpu"]}.items():
        if _device in EngineRegistry._engines["language_model"][_backend]:
            EngineRegistry.register("language_model", _backend, device=_device, vendor=_vendors)(FocusEngine)
