# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A correction of verl 0.9.1: Qwen2-VL and Qwen2.5-VL on a micro-batch in which no row has an image.

verl then runs the vision tower on a blank image, so that all ranks call it alike, and adds 0 times the mean of what it
returns. Since transformers 5, that is an object around the features, which has no mean. With this module, verl's
function gets the features themselves. docs/upstream/ holds the same correction as a patch of verl.

The function is verl's own, so the correction holds for every engine that uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt
from torch import Tensor, nn
from verl.models.transformers import qwen2_vl
from verl.utils.transformers_compat import unpack_visual_output


class _Tower(wrapt.ObjectProxy):
    """A vision tower that returns its features without the object around them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return unpack_visual_output(self.__wrapped__(*args, **kwargs))[0]


class _Model(wrapt.ObjectProxy):
    """A model with such a tower."""

    @property
    def visual(self) -> _Tower:
        return _Tower(self.__wrapped__.visual)


def _with_features(wrapped: Callable[..., Any], _: Any, args: tuple[nn.Module, ...], kwargs: dict[str, Any]) -> Any:
    model, *inputs = args
    return wrapped(_Model(model), *inputs, **kwargs)


qwen2_vl._get_input_embeds = wrapt.FunctionWrapper(qwen2_vl._get_input_embeds, _with_features)
