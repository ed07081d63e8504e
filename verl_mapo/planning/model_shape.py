# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a model that a plan needs, from its config.json. No weight is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verl_mapo.hub import check_reachable
from verl_mapo.names import MODEL_PATH
from verl_mapo.planning.arithmetic import BFLOAT16, FLOAT32, pinned
from verl_mapo.settings import ConfigError


@dataclass(frozen=True)
class ModelShape:
    """Numbers of a vision-language model.

    Attributes:
        parameters: of the whole model.
        pinned: the same in pinned host memory, see :func:`~verl_mapo.planning.arithmetic.pinned`.
        layers, hidden, vocab: layers of the language model, their width, and the size of its vocabulary.
        kv_heads, head_size: heads of keys and values of a layer, and the width of each.
        values: pixel values of an image token.
        side: pixels along an image token.
        tied: whether input and output share their embeddings; verl then loads the model in every process.
        linear_layers: of the layers, those of linear attention, which keep a state instead of keys and values.
        state: bytes of the states that a rollout keeps in the engine in all of these, however long it is.
    """

    parameters: int
    pinned: int
    layers: int
    hidden: int
    vocab: int
    kv_heads: int
    head_size: int
    values: int
    side: int
    tied: bool = False
    linear_layers: int = 0
    state: int = 0

    @classmethod
    def read(cls, path: str) -> ModelShape:
        """The shape of a model in a folder or on the Hugging Face hub.

        Raises:
            ConfigError: there is no config.json, it is of no vision-language model, or the hub cannot be reached.
        """
        from transformers import AutoConfig

        check_reachable(MODEL_PATH, path)
        try:
            config = AutoConfig.from_pretrained(path)
        except Exception as error:  # whatever the hub and transformers raise
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise ConfigError(
                f"{MODEL_PATH}={path} gives no config.json: {reason}. Set it to a folder that has one, or to a name on "
                "the Hugging Face hub."
            ) from None
        return cls.of(config, path)

    @classmethod
    def of(cls, config: Any, path: str) -> ModelShape:
        """The shape in a configuration of transformers; the parameters are counted on the device ``meta``.

        Raises:
            ConfigError: the model reads no images.
        """
        import torch
        from transformers import AutoModelForImageTextToText

        vision = getattr(config, "vision_config", None)
        if vision is None or not hasattr(vision, "spatial_merge_size"):
            raise ConfigError(
                f"{MODEL_PATH}={path} is a {config.model_type}: a plan is made for models that merge patches of "
                "images into tokens, such as Qwen/Qwen2.5-VL-7B-Instruct."
            )
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        sizes = [parameter.numel() for parameter in model.parameters()]
        text = config.get_text_config()
        side = vision.patch_size * vision.spatial_merge_size
        linear = (getattr(text, "layer_types", None) or []).count("linear_attention")
        return cls(
            parameters=sum(sizes),
            pinned=sum(map(pinned, sizes)),
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            vocab=text.vocab_size,
            kv_heads=text.num_key_value_heads,
            head_size=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            values=3 * vision.temporal_patch_size * side**2,
            side=side,
            tied=bool(config.tie_word_embeddings),
            linear_layers=linear,
            state=linear * _state_bytes(text) if linear else 0,
        )


def _state_bytes(text: Any) -> int:
    """The recurrent state of a layer of linear attention, in float32, and that of its convolution, in bfloat16."""
    keys = text.linear_num_key_heads * text.linear_key_head_dim
    values = text.linear_num_value_heads * text.linear_value_head_dim
    convolution = (2 * keys + values) * (text.linear_conv_kernel_dim - 1)
    return values * text.linear_key_head_dim * FLOAT32 + convolution * BFLOAT16
