# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A correction of verl 0.9.1: position ids of Qwen-VL in a batch whose rows are all of one length.

The position ids of a row have the shape (4, length). Packed without a named ragged dimension, as TransferQueue packs
them, rows of different lengths become a nested tensor that is ragged along the length, and rows of one length one that
is ragged along the 4. verl marks all of them as ragged along the length, and the next selection of rows ends the run:
"split_with_sizes expects split_sizes to sum exactly to ...". A policy that has stopped calling tools and writes answers
of one form makes such batches, and so does a batch of a single row. With this module, the tensor is laid out anew.
docs/upstream/ holds the same correction as a patch of verl.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt
from tensordict import TensorDict
from verl.utils import tensordict_utils
from verl.workers import engine_workers
from verl.workers.engine import base


def _along_the_length(wrapped: Callable[..., None], _: Any, args: tuple[TensorDict], __: dict[str, Any]) -> None:
    (data,) = args
    ids = data.get("position_ids")
    if ids is not None and ids.is_nested and ids.dim() == 3:
        values, ends = ids.values(), ids.offsets()
        if len(values) == ends[-1]:  # the rows lie below each other: side by side, all have more than 4 tokens
            rows = values.unflatten(0, (len(ends) - 1, -1)).unbind()
            data["position_ids"] = tensordict_utils.nested_tensor_from_tensor_list(list(rows), ragged_idx=2)
    wrapped(data)


_corrected = wrapt.FunctionWrapper(tensordict_utils.maybe_fix_3d_position_ids, _along_the_length)
tensordict_utils.maybe_fix_3d_position_ids = _corrected
base.maybe_fix_3d_position_ids = _corrected
engine_workers.maybe_fix_3d_position_ids = _corrected
