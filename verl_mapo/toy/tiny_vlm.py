# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models of the families with two million random parameters, in folders that transformers, verl and vLLM load."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from verl_mapo.toy.dialogue import FRAMES, Family
from verl_mapo.toy.tiny_tokenizer import CHAT_TEMPLATE, SPECIAL, STOPS, build_tokenizer
from verl_mapo.toy.visual_search import GRID

WIDTH, LAYERS, TOWER_LAYERS, HEAD = 128, 4, 3, 32
"""Hidden size of both parts, layers of the language model, layers of the vision tower, and head dimension.

32 is the smallest head dimension that vLLM's CPU attention supports."""

STORED = "float16"
"""The type in which weights are stored. Models compute in float32; saving them rounds their weights."""

_CONTRAST = 20.0
_SUPPRESSED_LOGIT = -30.0
_CLOSING = tuple(f"{name}.weight" for name in ("o_proj", "out_proj", "down_proj", "attn.proj", "mlp.linear_fc2"))
"""Ends of the names of the weights that close a residual branch."""


def build_processor(family: Family, **tokenizer: Any) -> ProcessorMixin:
    """The family's processor; an image becomes 4 to 16 tokens.

    Args:
        family: the model family.
        tokenizer: arguments of :func:`build_tokenizer`.
    """
    token = FRAMES[family].token_side
    images = {
        "patch_size": FRAMES[family].patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 4 * token**2, "longest_edge": (GRID * token) ** 2},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    kind, video = {
        "qwen2_5_vl": (Qwen2_5_VLProcessor, Qwen2VLVideoProcessor),
        "qwen3_vl": (Qwen3VLProcessor, Qwen3VLVideoProcessor),
        "qwen3_5": (Qwen3VLProcessor, Qwen3VLVideoProcessor),
    }[family]
    words = build_tokenizer(**tokenizer)
    return kind(Qwen2VLImageProcessor(**images), words, video(**images), chat_template=CHAT_TEMPLATE)


def build_model(
    family: Family,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    vocabulary: int | None = None,
    tower_layers: int = TOWER_LAYERS,
) -> PreTrainedModel:
    """A float32 model with random weights; its output head is tied to the embeddings until :func:`suppress` unties it.

    Args:
        family: the model family.
        tokenizer: the model's tokenizer.
        seed: seed of the weights.
        vocabulary: rows of the embeddings and of the output head; None for one for each token.
        tower_layers: layers of the vision tower.
    """
    torch.manual_seed(seed)
    common = vision_token_ids(tokenizer) | {"tie_word_embeddings": False, "dtype": "float32"}
    text = _text_config(tokenizer, vocabulary or len(tokenizer))
    tower = {
        "depth": tower_layers,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_heads": WIDTH // HEAD,
        "out_hidden_size": WIDTH,
        "patch_size": FRAMES[family].patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if family == "qwen2_5_vl":
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
        tower |= {"window_size": 112, "fullatt_block_indexes": list(range(tower_layers)), "tokens_per_second": 2}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=tower, **common))
    elif family == "qwen3_vl":
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
        text |= {"rope_parameters": rope, "head_dim": HEAD}
        tower |= {"num_position_embeddings": (2 * GRID) ** 2, "deepstack_visual_indexes": [tower_layers // 2]}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=tower, **common))
    else:
        text |= _hybrid_text()
        tower |= {"num_position_embeddings": (2 * GRID) ** 2}
        model = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=tower, **common))
    _initialise(model.float(), tower_layers)
    model.lm_head.weight = model.get_input_embeddings().weight
    return model


def vision_token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The ids of the tokens around and in the place of images, by their names in a model's configuration."""
    names = ("image_pad", "image"), ("video_pad", "video"), ("vision_start",) * 2, ("vision_end",) * 2
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for token, name in names}


def _text_config(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[str, Any]:
    """The toy's head has no padding rows: verl masks them in vLLM and not in the actor, so log-probs would differ."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // HEAD,
        "num_key_value_heads": WIDTH // HEAD // 2,
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }


def _hybrid_text() -> dict[str, Any]:
    """Qwen3.5's layers: three of linear attention, and one of softmax attention that rotates a quarter of each head."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    return {
        "rope_parameters": {**rope, "partial_rotary_factor": 0.25},
        "head_dim": HEAD,
        "layer_types": [*["linear_attention"] * (LAYERS - 1), "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": HEAD,
        "linear_value_head_dim": HEAD,
        "mamba_ssm_dtype": "float32",  # of the recurrent state, for vLLM; its CPU build computes with no other
    }


@torch.no_grad()
def _initialise(model: PreTrainedModel, tower_layers: int) -> None:
    """Initialise with variance 1 / fan-in, divided by the number of residual branches at the end of each branch.

    With the usual standard deviation of 0.02, models as narrow as these learn nothing. DeepStack's outputs start near
    zero, because no stage trains them alone. Half of the patch filters have mean zero and a high gain, so that they
    respond to contrast: a letter is a faint detail on a bright shape, and with ordinary filters the accuracy of letters
    stays at chance for hundreds of steps.
    """
    for name, weight in model.named_parameters():
        if name.endswith("embed_tokens.weight"):
            weight.normal_(0, 0.1)
        elif weight.dim() >= 2:
            branches = 2 * (tower_layers if "visual" in name else LAYERS)
            closes = name.endswith(_CLOSING)
            gain = 0.1 if "deepstack" in name and "fc2" in name else branches**-0.5 if closes else 1.0
            weight.normal_(0, gain / math.sqrt(weight[0].numel()))
    filters = model.model.visual.patch_embed.proj.weight[: WIDTH // 2]
    filters.sub_(filters.mean(dim=(2, 3, 4), keepdim=True)).mul_(_CONTRAST)


def forbidden_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that no policy may sample: special tokens other than :data:`STOPS`.

    One sampled image placeholder makes the training pass fail, because there are then more placeholders than images.
    """
    return [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL if token not in STOPS]


@torch.no_grad()
def suppress(model: PreTrainedModel, forbidden: list[int], hidden: Tensor) -> None:
    """Untie the output head from the embeddings, and set some of its rows so that their logits are about -30.

    Args:
        model: the model.
        forbidden: ids of the tokens.
        hidden: (samples, width) last hidden states at positions where the model writes. Each row of the head becomes
            the least-squares solution of ``hidden @ row = -30``.
    """
    head = model.lm_head.weight.detach().clone()
    gram = hidden.T @ hidden / len(hidden) + 1e-3 * torch.eye(hidden.shape[1])
    head[forbidden] = torch.linalg.solve(gram, hidden.mean(0) * _SUPPRESSED_LOGIT)
    model.lm_head.weight = nn.Parameter(head)


def save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Write a folder that AutoProcessor, AutoModelForImageTextToText, verl and vLLM load.

    Args:
        model: the model.
        processor: the model's processor.
        folder: where to write.
    """
    model.generation_config = generation_config(processor.tokenizer)
    save_weights(model, folder)
    processor.save_pretrained(folder)


def generation_config(tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """How a policy samples: at temperature 1, up to one of :data:`STOPS`."""
    stops = [tokenizer.convert_tokens_to_ids(token) for token in STOPS]
    return GenerationConfig(do_sample=True, temperature=1.0, eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)


def save_weights(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's configuration, which says float32, and its weights rounded to :data:`STORED`."""
    stored = getattr(torch, STORED)
    model.save_pretrained(folder, state_dict={name: value.to(stored) for name, value in model.state_dict().items()})
