# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The model of a rehearsal: a tiny one of the recipe's family, with the vocabulary and the image sizes of the real one.

Where the files of the real model are on this machine, its tokenizer, processor and chat template are used. Otherwise
the toy's tokenizer takes their place, filled up to the real number of ids, so that special tokens have the ids of the
released Qwen models.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import nn
from transformers import AutoConfig, AutoProcessor, PreTrainedModel, ProcessorMixin

from verl_mapo import names
from verl_mapo.rehearsal.script import ENDING, STATES, TURN, Script
from verl_mapo.rollout.parser import THINK
from verl_mapo.settings import ConfigError, local_path
from verl_mapo.toy.dialogue import Family
from verl_mapo.toy.tiny_vlm import build_model, build_processor, save

FIRST_SPECIAL = 151_643
"""Id of the first special token in the released models of both families."""

LONGEST = 131_072
"""Largest number of tokens of a rollout."""

_SHORTEST_LOG = -30.0
"""Logit of a token that the script does not expect."""

_COPIED = 30.0
"""A unit of the MLP that copies a dimension reads this where it is set, and 0 elsewhere."""

_WEIGHT_A_LAYER = 50.0
"""Length of an embedding along its state for each layer, far above what attention and MLP add to it."""


@dataclass(frozen=True)
class RealModel:
    """What is known of a recipe's model.

    Attributes:
        name: ``actor_rollout_ref.model.path``.
        family: its model type.
        vocabulary: rows of its output head.
        pixels: smallest and largest number of pixels of its processor.
        folder: the folder with its tokenizer and processor; None where they are not on this machine.
    """

    name: str
    family: Family
    vocabulary: int
    pixels: tuple[int, int]
    folder: Path | None = None


_PIXELS = {"qwen2_5_vl": (3_136, 12_845_056), "qwen3_vl": (65_536, 16_777_216)}
"""Family to the smallest and the largest number of pixels of the released processors."""

_RELEASED = (
    (re.compile(r"qwen.?2[._]5.?vl.?3b", re.IGNORECASE), "qwen2_5_vl", 151_936),
    (re.compile(r"qwen.?2[._]5.?vl", re.IGNORECASE), "qwen2_5_vl", 152_064),
    (re.compile(r"qwen.?3.?vl", re.IGNORECASE), "qwen3_vl", 151_936),
)
"""Patterns of names of released models, their family, and the rows of their output head; the first that fits counts."""

_LINEAR_ATTENTION = re.compile(r"qwen.?3[._]5", re.IGNORECASE)
"""Names and model types of Qwen3.5."""


def find_model(path: str) -> RealModel:
    """The model of a recipe, from its files where they are on this machine, otherwise from its name.

    Args:
        path: a folder, or a name on the Hugging Face hub, which is not downloaded.

    Raises:
        ConfigError: it is of no family of which there is a tiny model, or its name does not tell the family.
    """
    folder = local_path(path)
    if (folder / "config.json").is_file():
        config = AutoConfig.from_pretrained(folder)
        _refuse_linear_attention(path, config.model_type)
        if config.model_type not in _PIXELS:
            raise ConfigError(
                f"{names.MODEL_PATH}={path} is of the type {config.model_type}, which cannot be rehearsed: the types "
                f"are {' and '.join(_PIXELS)}."
            )
        vocabulary, pixels = config.get_text_config().vocab_size, _PIXELS[config.model_type]
        return RealModel(path, config.model_type, vocabulary, pixels, folder)
    for pattern, family, vocabulary in _RELEASED:
        if pattern.search(path):
            return RealModel(path, family, vocabulary, _PIXELS[family])
    _refuse_linear_attention(path, path)
    raise ConfigError(
        f"{names.MODEL_PATH}={path} is no folder with a config.json, and its name does not tell its family: set it to "
        "the folder of the model, or to a name such as Qwen/Qwen3-VL-8B-Instruct."
    )


def _refuse_linear_attention(path: str, name: str) -> None:
    """Refuse Qwen3.5, by its model type or the name of a model."""
    if _LINEAR_ATTENTION.search(name):
        raise ConfigError(
            f"{names.MODEL_PATH}={path} is a Qwen3.5, which cannot be rehearsed: vLLM's CPU build computes its linear "
            f"attention in bfloat16 alone, and the CPU stack runs in float32. The types are {' and '.join(_PIXELS)}."
        )


def processor_of(real: RealModel) -> ProcessorMixin:
    """The real processor, or one like it: the same sizes of images, the same number of ids."""
    if real.folder is not None:
        return AutoProcessor.from_pretrained(real.folder)
    first = FIRST_SPECIAL if real.vocabulary > FIRST_SPECIAL else 0
    processor = build_processor(real.family, first_special=first, longest=LONGEST)
    smallest, largest = real.pixels
    processor.image_processor.size = {"shortest_edge": smallest, "longest_edge": largest}
    if "thinking" in real.name.lower():
        processor.chat_template = processor.chat_template.replace("assistant\\n'", f"assistant\\n{THINK}\\n'")
        processor.tokenizer.chat_template = processor.chat_template
    return processor


def is_thinking(processor: ProcessorMixin) -> bool:
    """Whether the chat template opens a thought for the model."""
    return _opening(processor).rstrip().endswith(THINK)


def write_policy(
    real: RealModel, processor: ProcessorMixin, script: Script, folder: Path, weights: bool = True
) -> None:
    """Write a folder that transformers, verl and vLLM load: a tiny model whose rollouts follow a script.

    Args:
        real: the model in whose place it is.
        processor: of :func:`processor_of`; the texts of the script are added to its tokenizer.
        script: what the model says.
        folder: where to write.
        weights: whether to write the weights; without them, the checks at the start of a run can read the folder.
    """
    add_texts(processor.tokenizer, script)
    processor.tokenizer.model_max_length = LONGEST  # some released tokenizers have none
    rows = max(real.vocabulary, len(processor.tokenizer))
    with torch.device("cpu" if weights else "meta"):
        model = build_model(real.family, processor.tokenizer, seed=0, vocabulary=rows, tower_layers=1)
    if not weights:
        model.config.architectures = [type(model).__name__]  # as save_pretrained of a model writes it
        model.config.save_pretrained(folder)
        processor.save_pretrained(folder)
        return
    follow(model, processor, script)
    save(model, processor, folder)


def add_texts(tokenizer: Any, script: Script) -> None:
    """Make every text of a script a token; in the released models, the ids after the last token are unused."""
    known = tokenizer.get_vocab()
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in script.texts if text not in known])


@torch.no_grad()
def follow(model: PreTrainedModel, processor: ProcessorMixin, script: Script) -> None:
    """Set embeddings and output head so that the next token follows the script.

    An embedding has one large number in dimension 0 and one in the dimension of its token's state. The last norm keeps
    both, so that a row of the head that reads dimension 0 sets a logit in every state, and one that reads the state's
    dimension changes it in that state. What attention and MLP add is small beside them, but it is trained.

    A head that is tied to the embeddings reads further dimensions instead, into which the last MLP copies these.
    """
    tokenizer = processor.tokenizer
    text = model.config.get_text_config()
    weight = _WEIGHT_A_LAYER * text.num_hidden_layers
    embeddings = model.get_input_embeddings().weight
    place = {state: 1 + index for index, state in enumerate(STATES)}
    embeddings[:, 0] = embeddings[:, place[ENDING]] = weight
    states = {tokenizer.convert_tokens_to_ids(text): state for text, state in script.leads_to.items()}
    states[tokenizer.encode(_opening(processor), add_special_tokens=False)[-1]] = TURN
    for token, state in states.items():
        embeddings[token, place[ENDING]] = 0
        embeddings[token, place[state]] = weight
    seen = math.sqrt(text.hidden_size / 2)  # the last norm makes this of the weight
    head = torch.zeros_like(embeddings)
    head[:, 0] = _SHORTEST_LOG / seen
    for state, texts in script.follows.items():
        for said, share in texts.items():
            head[tokenizer.convert_tokens_to_ids(said), place[state]] = (math.log(share) - _SHORTEST_LOG) / seen
    if not model.config.tie_word_embeddings:
        model.lm_head.weight = nn.Parameter(head)
        return
    used = 1 + len(STATES)
    embeddings[:, used : 2 * used] = head[:, :used]
    _copy_in_last_mlp(model, used, seen)


def _copy_in_last_mlp(model: PreTrainedModel, used: int, seen: float) -> None:
    """Let the last MLP copy the first dimensions into the next ones, far longer, and the last norm leave them out.

    Args:
        model: its head is tied to the embeddings.
        used: number of dimensions that are copied.
        seen: what a norm makes of such a dimension.
    """
    mlp, norm = model.get_decoder().layers[-1].mlp, model.get_decoder().norm
    units = torch.arange(used)
    for read in (mlp.gate_proj.weight, mlp.up_proj.weight):
        read[:used] = 0
        read[units, units] = _COPIED / seen
    mlp.down_proj.weight[:, :used] = 0
    mlp.down_proj.weight[used + units, units] = _COPIED
    norm.weight[:used] = 0


def _opening(processor: ProcessorMixin) -> str:
    """The end of a prompt, after which the model writes."""
    message = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    return processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
