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

A log-prob pass reads the final hidden states anyway; a hook keeps them for the moment it takes to reduce them to one
number a token (:mod:`verl_mapo.advantages.focus`). Passes that do not ask are verl's own, and so are the logits of
those that do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, distributed, nn
from transformers import AutoConfig
from verl.utils import tensordict_utils as tu
from verl.utils.ulysses import get_ulysses_sequence_parallel_group, get_ulysses_sequence_parallel_rank
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from verl_mapo.advantages.focus import FocusPlan, focus_scores, image_sums, plan_focus
from verl_mapo.settings import ConfigError

FOCUS = "visual_focus"
"""The column, and the key under which a batch asks for it: :func:`focus_request`."""


def focus_request(visual_token_ids: list[int], prototype: str, position: str, layer: int) -> dict[str, Any]:
    """What a batch carries to ask for scores, see :class:`verl_mapo.advantages.visual_credit.VisualCreditConfig`."""
    return {"visual_token_ids": visual_token_ids, "prototype": prototype, "position": position, "layer": layer}


def visual_token_ids(processor: Any, model: str) -> list[int]:
    """Ids of the image and the video placeholder.

    Raises:
        ConfigError: the model has no image tokens.
    """
    ids = [getattr(processor, name, None) for name in ("image_token_id", "video_token_id")]
    if ids[0] is None:
        raise ConfigError(
            f"actor_rollout_ref.model.path={model} has no image tokens that a response could look at, and visual "
            "credit weighs nothing else: use a vision-language model such as Qwen2.5-VL, or set "
            "algorithm.visual_credit.enable=false and another algorithm.adv_estimator."
        )
    return [token for token in ids if token is not None]


def check_layer(layer: int, model: str) -> None:
    """Check that a model, a folder or a hub name, has the layer whose states are asked for.

    Raises:
        ConfigError: it has fewer.
    """
    if layer < 0:
        return
    layers = AutoConfig.from_pretrained(model).get_text_config().num_hidden_layers
    if layer >= layers:
        raise ConfigError(
            f"algorithm.visual_credit.layer={layer}, but {model} has {layers} decoder layers: set it to -1 for the "
            f"final norm, or to at most {layers - 1}."
        )


class FocusEngine(FSDPEngineWithLMHead):
    """Registered wherever verl's engine is, in the slot of a vendor, which takes precedence over the device's."""

    def forward_step(self, micro_batch: TensorDict, loss_function: Any, forward_only: bool) -> tuple[Tensor, dict]:
        request = tu.get_non_tensor_data(data=micro_batch, key=FOCUS, default=None)
        if request is None or not forward_only:
            return super().forward_step(micro_batch, loss_function, forward_only)
        with kept(_states_of(self.module, request["layer"])) as states:
            loss, output = super().forward_step(micro_batch, loss_function, forward_only)
        output["model_output"][FOCUS] = self._focus(states[-1], micro_batch, request)
        return loss, output

    @torch.no_grad()
    def _focus(self, hidden: Tensor, micro_batch: TensorDict, request: dict[str, Any]) -> Tensor:
        """Nested (B, prompt + response) float32: the *next* token's score, as verl has its log-prob; NaN for none."""
        input_ids = micro_batch["input_ids"].cpu()
        ids, offsets = input_ids.values(), input_ids.offsets()
        policy = _policy(micro_batch["response_mask"].cpu(), offsets)
        columns = None
        if not tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True):
            columns = _columns(offsets, hidden.shape[1])
            ids, policy = (_spread(values, columns, hidden.shape[:2].numel()) for values in (ids, policy))
            offsets = torch.arange(hidden.shape[0] + 1) * hidden.shape[1]
        plan = plan_focus(ids, policy, offsets, request["visual_token_ids"], request["prototype"], request["position"])
        scores = self._score(hidden.flatten(0, 1), plan, len(ids))
        if request["position"] == "own":
            scores = scores.roll(-1)
        if columns is not None:
            scores = scores[columns.to(scores.device)]
        return torch.nested.nested_tensor_from_jagged(scores, micro_batch["input_ids"].offsets())

    def _score(self, hidden: Tensor, plan: FocusPlan, length: int) -> Tensor:
        """(length,) scores of all states, each rank of sequence parallelism holding a part of them."""
        if not self.use_ulysses_sp:
            return focus_scores(hidden, image_sums(hidden, plan), plan)[:length]
        mine = len(hidden)
        begin = get_ulysses_sequence_parallel_rank() * mine
        part = plan.shard(begin, begin + mine)
        sums = image_sums(hidden, part)
        distributed.all_reduce(sums, group=get_ulysses_sequence_parallel_group())
        padding = mine * self.ulysses_sequence_parallel_size - length
        return self._gather_and_unpad_packed(focus_scores(hidden, sums, part), padding)


@contextmanager
def kept(module: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what a module gives back while the ``with`` block runs."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: tuple, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def _states_of(model: nn.Module, layer: int) -> nn.Module:
    """The module whose output is wanted: the text tower's final norm (-1), or one of its decoder layers."""
    tower = next(part for part in model.modules() if hasattr(part, "layers") and hasattr(part, "norm"))
    return tower.norm if layer < 0 else tower.layers[layer]


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
