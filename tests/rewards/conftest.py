# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of tiny random CLIP, SigLIP and SigLIP2 models, made with transformers and tokenizers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Processor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

TOWER = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIDE, PATCH, POSITIONS = 56, 14, 24


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ray: starts a local Ray instance.")


def _save(model: torch.nn.Module, processor: Any, folder: Path) -> str:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    end = len(tokens) - 1
    ids = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    text = {**TOWER, **ids, "vocab_size": len(tokens), "max_position_embeddings": POSITIONS}
    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    side = {"height": SIDE, "width": SIDE}
    processor = CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=side),
        CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[]),
    )
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    return _save(model, processor, tmp_path_factory.mktemp("clip"))


def _letters_tokenizer() -> PreTrainedTokenizerFast:
    """One token per letter and an end token, without an attention mask, as in SigLIP's tokenizers."""
    tokens = ["<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids"],
    )


def _siglip_text() -> dict[str, int]:
    special = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "projection_size": 32}
    return {**TOWER, **special, "vocab_size": 259, "max_position_embeddings": POSITIONS}


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    image_processor = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    model = SiglipModel(SiglipConfig(text_config=_siglip_text(), vision_config=vision))
    processor = SiglipProcessor(image_processor, _letters_tokenizer())
    return _save(model, processor, tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="session")
def siglip2_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(2)
    image_processor = Siglip2ImageProcessor()
    vision = {**TOWER, "num_patches": 16, "patch_size": image_processor.patch_size}
    model = Siglip2Model(Siglip2Config(text_config=_siglip_text(), vision_config=vision))
    processor = Siglip2Processor(image_processor, _letters_tokenizer())
    return _save(model, processor, tmp_path_factory.mktemp("siglip2"))
