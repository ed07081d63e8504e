# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient of every row of a micro-batch from one backward pass.

The gradient of a linear layer's weight is a sum over positions, g_t x_t^T, with the gradient g at its output and its
input x. Rows of a micro-batch do not act on each other, whether they are padded or packed, so the sum over the
positions of a row is the gradient of that row's loss alone. Hooks take x and g of each layer as they pass by and sketch
the sums; no weight needs a gradient, and none is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from verl_mapo.lens.sketch import CountSketch


def linear_layers(model: nn.Module, wanted: Callable[[str], bool]) -> dict[str, nn.Linear]:
    """The linear layers whose name is wanted, by name; adapters of LoRA are linear layers, too.

    Args:
        model: the model.
        wanted: whether the layer of a name belongs to the block of parameters that is measured.
    """
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and wanted(name)}


@contextmanager
def row_gradients(layers: dict[str, nn.Linear], rows: list[slice], sketch: CountSketch) -> Iterator[Tensor]:
    """Yield the sketches of the rows' gradients, which the backward passes inside the ``with`` block add up.

    Args:
        layers: the layers by name, see :func:`linear_layers`. Their inputs need a gradient or a layer before them does,
            otherwise nothing flows back to them.
        rows: positions of each row in a layer's input of shape (..., D) once it is flattened to (N, D): of padded rows
            the places of their tokens, of packed ones the places in the pack.
        sketch: size and seed.

    Yields:
        (len(rows), M) float32 on the device of the layers; zero until the backward pass.

    Raises:
        RuntimeError: no gradient has passed a layer, because its weight was used without calling it.
    """
    device = next(iter(layers.values())).weight.device
    reached: set[str] = set()
    sketches = torch.zeros(len(rows), sketch.size, device=device)
    inputs: dict[str, Tensor] = {}
    handles = []

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
            inputs[name] = given[0].detach()

        return hook

    def add(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple, gradient: tuple[Tensor, ...]) -> None:
            reached.add(name)
            _add_rows(sketches, name, inputs[name], gradient[0].detach(), rows, sketch)

        return hook

    for name, layer in layers.items():
        handles += [layer.register_forward_hook(keep(name)), layer.register_full_backward_hook(add(name))]
    try:
        yield sketches
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in layers if name not in reached]:
        raise RuntimeError(
            f"The lens has no gradient of {missing[0]}, one of {len(missing)} such layers: the model uses their "
            "weights without calling them, as fused kernels do. Set actor_rollout_ref.model.use_liger=false."
        )


@torch.no_grad()
def _add_rows(
    sketches: Tensor, name: str, inputs: Tensor, gradient: Tensor, rows: list[slice], sketch: CountSketch
) -> None:
    """Add the gradient of one layer's weight, in float32, to the sketch of each row."""
    x, g = inputs.flatten(0, -2).float(), gradient.flatten(0, -2).float()
    for number, places in enumerate(rows):
        weight = g[places].T @ x[places]
        sketch.add(sketches[number : number + 1], name, weight.reshape(1, -1))
