# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The resize is that of transformers and of qwen_vl_utils."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qwen_vl_utils.vision_process import smart_resize as of_qwen_vl_utils
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as of_transformers

from verl_mapo.rollout.smart_resize import smart_resize


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((140, 280), (3136, 12845056), (140, 280)),  # 5 x 10 tokens already
        ((1400, 2800), (3136, 1003520), (700, 1400)),  # scale 1.976: 25.3 and 50.6 tokens, rounded down
        ((30, 30), (3136, 12845056), (56, 56)),  # 784 pixels are too few: scale 1.867, 2 tokens, rounded up
    ],
)
def test_sizes_computed_by_hand(size, limits, expected):
    assert smart_resize(*size, 28, *limits) == expected


@settings(max_examples=300)
@given(
    st.integers(1, 6000),
    st.integers(1, 6000),
    st.sampled_from([28, 32]),
    st.integers(1, 2**16),
    st.integers(2**16, 2**24),
)
def test_sizes_are_those_of_both_libraries(height, width, factor, fewest, most):
    assume(max(height, width) <= 200 * min(height, width))
    limits = fewest, most
    assert smart_resize(height, width, factor, *limits) == of_transformers(height, width, factor, *limits)
    other = of_qwen_vl_utils(height, width, factor, *limits)
    least = tuple(max(side, factor) for side in other)  # where its own rounding leads to no token at all
    assert smart_resize(height, width, factor, *limits, least_side=factor) == least
