# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's agent-loop worker with the features that a rollout of the visual tools brings along.

verl computes image features and position ids twice for every finished rollout, for the reward and for the row, on the
event loop of its worker, where every other rollout of the worker waits in the meantime. It decodes the tokens of the
rollout and gives text and images to the processor, whose features it keeps and whose tokens it discards; a text in
which the model spelled out ``<|image_pad|>`` with ordinary tokens then stops the processor. The features do not depend
on the text. With this module verl takes both from the :class:`VisualToolOutput`, and computes them itself for the
outputs of other agent loops.

Ray copies every method of a class into the actor class that it makes of it, and pickles that class by value. So the new
methods are functions of this module, which are pickled by name: of a ``wrapt.FunctionWrapper``, cloudpickle sees the
wrapped function alone, and an actor would get verl's own method.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

from verl_mapo.rollout.image_features import POSITION_IDS
from verl_mapo.rollout.output import VisualToolOutput

_features_of_verl = AgentLoopWorker._compute_multi_modal_inputs
_positions_of_verl = AgentLoopWorker._compute_position_ids


def features_of_output(worker: AgentLoopWorker, output: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """verl's ``_compute_multi_modal_inputs``: the features that an output brings along, or else what verl computes."""
    if isinstance(output, VisualToolOutput):
        return dict(output.features)
    return _features_of_verl(worker, output, *args, **kwargs)


def positions_of_features(
    worker: AgentLoopWorker, input_ids: Tensor, mask: Tensor, features: dict[str, Any], *args: Any, **kwargs: Any
) -> Tensor:
    """verl's ``_compute_position_ids``: the position ids among the features, or else what verl computes."""
    positions = features.pop(POSITION_IDS, None)
    if positions is None or positions.shape[-1] != input_ids.shape[-1]:  # verl's older trainer pads before it asks
        return _positions_of_verl(worker, input_ids, mask, features, *args, **kwargs)
    features.pop("mm_token_type_ids", None)  # as verl's method does
    return positions


features_of_output.__wrapped__ = _features_of_verl
positions_of_features.__wrapped__ = _positions_of_verl
AgentLoopWorker._compute_multi_modal_inputs = features_of_output
AgentLoopWorker._compute_position_ids = positions_of_features
