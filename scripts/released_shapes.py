# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The shapes of the released Qwen2.5-VL models, from their config.json, and a tiny one for a machine without a GPU."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLConfig

_TOWER = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_FRAMES = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2}
_TINY_TOWER = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "fullatt_block_indexes": [1]}

SHAPES: dict[str, dict[str, Any]] = {
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
        "tie_word_embeddings": True,
    },
}
"""The language model of each shape; a tiny one has a head of 32, the smallest that vLLM's CPU attention supports."""

SPECIAL = {"image": 151_655, "video": 151_656, "vision_start": 151_652, "vision_end": 151_653}
"""Ids of special tokens in the released models."""


def config_of(shape: str, layers: int | None = None, **changed: Any) -> Qwen2_5_VLConfig:
    """The configuration of a model with random weights.

    Args:
        shape: a key of :data:`SHAPES`.
        layers: keep so many layers of the language model and of the vision tower; None for all.
        changed: settings to replace: ``vocab_size`` and ids of tokens.
    """
    small = shape == "tiny"
    text = SHAPES[shape] | {"max_position_embeddings": 128_000, "rms_norm_eps": 1e-6}
    sections = [4, 6, 6] if small else [16, 24, 24]
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    tower = (_TINY_TOWER if small else _TOWER) | _FRAMES | {"out_hidden_size": text["hidden_size"]}
    if layers is not None:
        text["num_hidden_layers"], tower["depth"] = layers, layers
        tower["fullatt_block_indexes"] = [layers - 1]
    text["vocab_size"] = changed.pop("vocab_size", text["vocab_size"])
    ids = {f"{name}_token_id": token for name, token in SPECIAL.items()} | changed
    tied = text["tie_word_embeddings"]
    return Qwen2_5_VLConfig(text_config=text, vision_config=tower, tie_word_embeddings=tied, dtype="bfloat16", **ids)
