# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Image features of a finished rollout, computed from its images alone.

verl decodes the tokens of a rollout and gives text and images to the processor, whose features it keeps and whose
tokens it discards. A text in which the model spelled out ``<|image_pad|>`` with ordinary tokens then has more
placeholders than the rollout has images, and the processor raises an exception. The features do not depend on the text,
so with this module verl computes those of a :class:`VisualToolOutput` without it.
"""

from __future__ import annotations

from typing import Any

import wrapt
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker

from verl_mapo.rollout.output import VisualToolOutput


def _without_text(compute: Any, _: AgentLoopWorker, args: tuple[Any, Any], kwargs: dict[str, Any]) -> Any:
    output, input_ids = args
    return compute(output, input_ids[..., :0] if isinstance(output, VisualToolOutput) else input_ids, **kwargs)


AgentLoopWorker._compute_multi_modal_inputs = wrapt.FunctionWrapper(
    AgentLoopWorker._compute_multi_modal_inputs, _without_text
)
