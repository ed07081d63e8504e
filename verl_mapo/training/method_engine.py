# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's FSDP engine with what the methods ask of its passes.

A batch asks a log-prob pass for the focus score of each response token, for log-probs under changed images or texts
(:mod:`verl_mapo.views.passes`) or for sketches of gradients (:mod:`verl_mapo.lens.passes`), and an update for further
terms of the loss (:mod:`verl_mapo.views.auxiliary`). For the focus scores, a forward hook reduces the hidden states to
one number per token (:mod:`verl_mapo.advantages.focus`) and keeps none of them; the logits stay as they are. A pass
without a request is verl's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel
from verl.utils import tensordict_utils as tu
from verl.utils.ulysses import get_ulysses_sequence_parallel_group, get_ulysses_sequence_parallel_rank
from verl.workers.config.optimizer import build_optimizer
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from verl_mapo.advantages.focus import FocusPlan, focus_scores, image_sums, plan_focus
from verl_mapo.columns import VISUAL_FOCUS
from verl_mapo.lens.passes import SKETCH, sketched_step
from verl_mapo.names import ENGINES
from verl_mapo.packed_rows import padded_index, policy_tokens
from verl_mapo.training.frozen_tower import FREEZE, freeze, write_note
from verl_mapo.views.auxiliary import AUXILIARY, with_terms
from verl_mapo.views.passes import VIEWS, viewed_log_probs

FOCUS = VISUAL_FOCUS.name
"""The column, and the key under which a batch asks for it (:meth:`VisualCredit.log_prob_request`)."""


class MethodEngine(FSDPEngineWithLMHead):
    """verl's FSDP engine with the requests above, and with a frozen vision tower where its settings ask for one.

    It is registered under (device, vendor). verl looks up this pair before the device alone, so it uses this class
    instead of its own.
    """

    def _build_fsdp_module(self, module: nn.Module) -> nn.Module:
        """verl's method, before which the vision tower is frozen."""
        if self.engine_config.get(FREEZE):
            freeze(module)
        return super()._build_fsdp_module(module)

    def _build_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """verl's optimizer, without frozen parameters where the vision tower is frozen."""
        if not self.engine_config.get(FREEZE):
            return super()._build_optimizer(module)
        return build_optimizer(
            [weight for weight in module.parameters() if weight.requires_grad], self.optimizer_config
        )

    def save_checkpoint(self, local_path: str, *args: Any, **kwargs: Any) -> None:
        """verl's method, after which the checkpoint tells whether the vision tower is frozen."""
        super().save_checkpoint(local_path, *args, **kwargs)
        if self.rank == 0:
            write_note(local_path, bool(self.engine_config.get(FREEZE)))

    def forward_step(self, micro_batch: TensorDict, loss_function: Any, forward_only: bool) -> tuple[Tensor, dict]:
        """verl's forward step; on request ``model_output`` also holds further columns.

        ``visual_focus`` is jagged, one score per position. ``gradient_sketch`` is that of the gradient lens, see
        :func:`verl_mapo.lens.passes.sketched_step`. The columns of changed views are those of
        :func:`verl_mapo.views.passes.viewed_log_probs`, of a further pass each.

        Args:
            micro_batch: verl's micro-batch; its non-tensor key with the name of a column holds the request for it.
            loss_function: verl's loss function.
            forward_only: whether this is a pass without gradients; a training pass ignores the requests for columns,
                but not that for the terms of :mod:`verl_mapo.views.auxiliary`.
        """
        views = tu.get_non_tensor_data(data=micro_batch, key=VIEWS, default=None)
        terms = tu.get_non_tensor_data(data=micro_batch, key=AUXILIARY, default=None)
        if terms is not None and not forward_only:
            loss_function = with_terms(loss_function, terms)
        fused = tu.get_non_tensor_data(data=micro_batch, key="use_fused_kernels", default=False)
        with whole_head(self.module, forward_only) if fused else nullcontext():
            if not forward_only:
                return super().forward_step(micro_batch, loss_function, forward_only)
            loss, output = self._own_step(micro_batch, loss_function)
            if views is not None:
                device = output["model_output"]["log_probs"].device
                output["model_output"].update(self._views(micro_batch, {"": views}, device)[""])
            return loss, output

    def _own_step(self, micro_batch: TensorDict, loss_function: Any) -> tuple[Any, dict]:
        """The pass without gradients under the rows' own view, with the scores and sketches that are requested."""
        request = tu.get_non_tensor_data(data=micro_batch, key=FOCUS, default=None)
        measured = tu.get_non_tensor_data(data=micro_batch, key=SKETCH, default=None)
        weighed = {} if measured is None else measured["weights"]
        viewing = {name: each.get(VIEWS, {}) for name, each in weighed.items()}
        views = {
            name: {column: found.values() for column, found in columns.items()}
            for name, columns in self._views(micro_batch, viewing).items()
        }
        with ExitStack() as stack:
            asked = {} if request is None else {FOCUS: request}
            asked |= {name: each[FOCUS] for name, each in weighed.items() if FOCUS in each}
            scores = {name: stack.enter_context(self._scores(micro_batch, each)) for name, each in asked.items()}
            if measured is None:
                loss, output = super().forward_step(micro_batch, loss_function, forward_only=True)
            else:
                step = partial(super().forward_step, micro_batch, forward_only=True)

                def given() -> dict[str, dict[str, Tensor]]:
                    return {name: {FOCUS: scores[name]()} if name in scores else views[name] for name in weighed}

                loss, output = sketched_step(self.module, micro_batch, measured, step, given)
        if request is not None:
            values, offsets = scores[FOCUS](), micro_batch["input_ids"].offsets()
            output["model_output"][FOCUS] = torch.nested.nested_tensor_from_jagged(values, offsets.to(values.device))
        return loss, output

    def _views(
        self,
        micro_batch: TensorDict,
        requests: dict[str, dict[str, dict[str, Any]]],
        device: torch.device | None = None,
    ) -> dict[str, dict[str, Tensor]]:
        """The columns of changed views that some readers ask for, jagged; a view of several is passed once.

        Args:
            micro_batch: verl's micro-batch.
            requests: name of a reader to its columns and the view of each.
            device: where pixels are changed; None for the device of the weights.
        """
        step = partial(super().forward_step, loss_function=None, forward_only=True)
        passed: dict[str, Tensor] = {}
        for view in (view for columns in requests.values() for view in columns.values()):
            if repr(view) not in passed:
                passed[repr(view)] = viewed_log_probs(micro_batch, view, step, device or self.module.device)
        return {
            name: {column: passed[repr(view)] for column, view in columns.items()} for name, columns in requests.items()
        }

    @contextmanager
    def _scores(self, micro_batch: TensorDict, request: dict) -> Iterator[Callable[[], Tensor]]:
        """Yield a function that gives the scores of the forward pass inside the ``with`` block: (N,) float32, packed.

        Each score lies one position before its token, like verl's log-prob.
        """
        plan, index = _plan(micro_batch, request)
        layers = [_states_of(self.module, layer) for layer in request["layers"]]
        with ExitStack() as stack:
            found = [
                stack.enter_context(reduced(layer, lambda hidden: self._score(hidden.flatten(0, 1), plan)))
                for layer in layers
            ]

            def read() -> Tensor:
                scores = torch.stack([score for (score,) in found]).mean(dim=0)
                if request["position"] == "own":  # verl's log-prob of a token lies one position before it
                    scores = scores.roll(-1)
                return scores if index is None else scores[index.to(scores.device)]

            yield read

    @torch.no_grad()
    def _score(self, hidden: Tensor, plan: FocusPlan) -> Tensor:
        """(N,) float32 scores of the plan's states, without the scores of verl's padding.

        With sequence parallelism, each rank holds a part of the states and returns the scores of all of them.
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
def whole_head(model: PreTrainedModel, forward_only: bool) -> Iterator[None]:
    """Let verl's fused forward read the whole weight of the output head inside the ``with`` block.

    verl 0.9.1 makes an output head that is not tied to the embeddings an FSDP2 unit of its own, and its fused forward
    reads the weight of the head without calling it. FSDP2 gathers a unit when it is called, so the weight would be a
    shard, and the first pass would fail with "got mixed torch.Tensor and DTensor".

    Args:
        model: the model of the engine.
        forward_only: whether no backward pass follows; otherwise FSDP2 frees the gathered weight after that pass.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, FSDPModule):
        yield
        return
    # not before the pass: FSDP2 sets its units up when the model is called for the first time
    handle = model.get_decoder().register_forward_pre_hook(lambda *_: head.unshard())
    try:
        yield
    finally:
        handle.remove()
        if forward_only:
            head.reshard()


@contextmanager
def reduced(module: nn.Module, reduce: Callable[[Tensor], Tensor]) -> Iterator[list[Tensor]]:
    """Yield a list that collects ``reduce(output)`` for each call of a module inside the ``with`` block."""
    found: list[Tensor] = []

    def read(_: nn.Module, __: tuple, output: Any) -> None:
        found.append(reduce(output[0] if isinstance(output, tuple) else output))

    handle = module.register_forward_hook(read)
    try:
        yield found
    finally:
        handle.remove()


def _states_of(model: PreTrainedModel, layer: int) -> nn.Module:
    """The module whose output is read: the final norm of the text tower (-1), or one of its decoder layers."""
    tower = model.get_decoder()
    return tower.norm if layer < 0 else tower.layers[layer]


def _plan(micro_batch: TensorDict, request: dict[str, Any]) -> tuple[FocusPlan, Tensor | None]:
    """The plan for the states in verl's layout, and the index of each packed position in it; None if verl packs."""
    input_ids = micro_batch["input_ids"].cpu()
    ids, offsets = input_ids.values(), input_ids.offsets()
    policy = policy_tokens(micro_batch["response_mask"].cpu(), offsets)
    index = None
    if not tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True):
        rows, width = len(offsets) - 1, int(offsets.diff().max())
        index = padded_index(offsets, width)
        ids, policy = (_padded(values, index, rows * width) for values in (ids, policy))
        offsets = torch.arange(rows + 1) * width
    how = {name: request[name] for name in ("visual_token_ids", "prototype", "position", "similarity")}
    return plan_focus(ids, policy, offsets, **how), index


def _padded(values: Tensor, index: Tensor, size: int) -> Tensor:
    """(size,) the values at their index, 0 elsewhere."""
    return values.new_zeros(size).index_copy_(0, index, values)


# verl registers an engine for a device when it imports the engine, so a vendor is added only for devices found by now.
for _backend in ENGINES:
    for _device, _vendors in {"cuda": ["nvidia", "amd"], "cpu": ["cpu"]}.items():
        if _device in EngineRegistry._engines["language_model"][_backend]:
            EngineRegistry.register("language_model", _backend, device=_device, vendor=_vendors)(MethodEngine)
