# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A correction of verl 0.9.1: Qwen3.5 on packed rows where flash-linear-attention is not installed.

verl gives the ends of packed rows to the function that computes the linear attention, or, if this function does not
take them, calls it once for each row. It takes a function with ``**kwargs`` for one that takes them. That of
transformers, which runs without flash-linear-attention, has such keywords and ignores them, so the recurrent state of a
row goes on into the next one, and log-probs depend on the rows before. With this module, a function takes what its
parameters name. docs/upstream/ holds the same correction as a patch of verl.

The function is verl's own, so the correction holds for every engine that uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import wrapt
from verl.models.transformers import qwen3_5


def _by_name(wrapped: Callable[..., bool], _: Any, args: tuple[Callable[..., Any], str], __: dict[str, Any]) -> bool:
    function, name = args
    return wrapped(function, name) and name in signature(function).parameters


qwen3_5._call_accepts_kwarg = wrapt.FunctionWrapper(qwen3_5._call_accepts_kwarg, _by_name)
