# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's agent-loop worker with the features that a rollout of the visual tools brings along.

verl computes image features and position ids twice for every finished rollout, for the reward and for the row, on the
event loop of its worker, where every other rollout of the worker waits in the meantime. It decodes the tokens of the
rollout and gives text and images to the processor, whose features it keeps and whose tokens it discards; a text in
which the model spelled out ``<|image_pad|>`` with ordinary tokens then stops the processor. The features do not depend
on the text. With this module verl takes both from the :class:`VisualToolOutput`, and computes them itself for the
outputs of other agent loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt
from torch import Tensor
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

from verl_mapo.rollout.image_features import POSITION_IDS
from verl_mapo.rollout.output import VisualToolOutput


def _features_of_output(
    compute: Callable[..., dict[str, Any]], _: AgentLoopWorker, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    output = args[0]
    return dict(output.features) if isinstance(output, VisualToolOutput) else compute(*args, **kwargs)


def _positions_of_features(
    compute: Callable[..., Tensor], _: AgentLoopWorker, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    input_ids, _, features = args[:3]
    positions = features.pop(POSITION_IDS, None)
    if positions is None or positions.shape[-1] != input_ids.shape[-1]:  # verl's older trainer pads before it asks
        return compute(*args, **kwargs)
    features.pop("mm_token_type_ids", None)  # as verl's method does
    return positions


AgentLoopWorker._compute_multi_modal_inputs = wrapt.FunctionWrapper(
    AgentLoopWorker._compute_multi_modal_inputs, _features_of_output
)
AgentLoopWorker._compute_position_ids = wrapt.FunctionWrapper(
    AgentLoopWorker._compute_position_ids, _positions_of_features
)
