# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Random dialogues through the loop and through verl's own computation of image features and position ids."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from random import Random

import pytest
from PIL import Image
from support.scripted import assert_consistent, call, compose_config, make_loop, prompt_of, verl_inputs

SPECIAL = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<answer>", "```"]
TAGS += ["<description>", "</description>", "<tools>", "<function=zoom>", "<parameter=bbox_2d>", "</parameter>"]
TEXTS = [
    "红色",
    "左边的狗",
    "答案：B",
    "é😀",
    "\\ud83d",
    "\\u003c|image_pad|>",
    '{"name"',
    "[1, 2",
    "}",
    "'",
    "x",
    " ",
    "\n",
]


def text_of(rng: Random) -> str:
    """A text of special tokens, tags, pieces of JSON, halves of surrogate pairs and CJK."""
    return "".join(rng.choices([*SPECIAL, *TAGS, *TEXTS], k=rng.randint(0, 4)))


def call_of(rng: Random) -> str:
    """A call, or nearly one: boxes of any size, names and labels of any text, and other spellings."""
    box = [rng.choice([rng.uniform(-5, 5), rng.randint(-50, 1100), rng.random(), 1e300]) for _ in range(4)]
    if rng.random() < 0.6:
        x, y = rng.uniform(0, 30), rng.uniform(0, 25)
        box = [x, y, x + rng.uniform(1, 25), y + rng.uniform(1, 25)]
    text = call(box[: rng.choice([4, 4, 4, 3])], rng.choice([None, "red", text_of(rng), "word " * 40, 3]))
    if rng.random() < 0.2:
        text = call(box, "red", name=text_of(rng), **{text_of(rng) or "a": text_of(rng)})
    text = text.replace('"img_idx": 0', f'"img_idx": {rng.randint(-1, 4)}')
    spellings = [
        str,
        str,
        str,
        lambda t: t.replace('"', "'"),
        lambda t: t.replace("}}", "}}}"),
        lambda t: t[: len(t) // 2],
    ]
    return rng.choice(spellings)(text).replace("\\\\u", "\\u")


@lru_cache(maxsize=1000)
def spelled(tokenizer, character: str) -> list[int]:
    """The ordinary tokens of one character."""
    return tokenizer.encode(character)


def turn_of(rng: Random, tokenizer) -> str | list[int]:
    """A turn: text, calls, or token ids; special tokens may be spelled with ordinary tokens."""
    kind = rng.random()
    if kind < 0.1:
        return [rng.randrange(len(tokenizer)) for _ in range(rng.randint(0, 12))]
    text = "".join(rng.choice([call_of, text_of])(rng) for _ in range(rng.randint(1, 3)))
    if kind < 0.4:
        return [i for character in text for i in spelled(tokenizer, character)] + [tokenizer.eos_token_id]
    return text


async def roll_out(model, path: str, seed: int, outputs: int) -> int:
    """Roll random dialogues out until so many turns were written, check each, and return the number of turns."""
    rng, written = Random(seed), 0
    config = compose_config("visual_tool.tools=[zoom,mark]")
    while written < outputs:
        turns = [turn_of(rng, model.tokenizer) for _ in range(rng.randint(1, 5))]
        config.visual_tool.describe = rng.choice(["before", "after", "both"])
        config.visual_tool.calls_per_turn = rng.choice([1, 3])
        config.visual_tool.stop_at_call = config.visual_tool.calls_per_turn == 1 and rng.random() < 0.5
        config.visual_tool.max_turn_tokens = rng.choice([None, None, 16, 60])
        config.actor_rollout_ref.rollout.response_length = rng.choice([40, 400, 1024])
        question = rng.choice(["What?", text_of(rng)])
        prompt = prompt_of(path, question)
        if rng.random() < 0.1:
            del prompt[1]["content"][0]
        output = await make_loop(model, config, turns).run({}, raw_prompt=prompt, global_steps=1)
        assert_consistent(model, output)
        inputs = verl_inputs(model, output)
        assert inputs["position_ids"].shape[-1] == len(output.prompt_ids) + len(output.response_ids)
        json.dumps(output.state.trajectory.to_record(), ensure_ascii=False).encode()
        written += max(len(output.state.trajectory.assistant_turns), 1)
    return written


@pytest.fixture(scope="module")
def small_picture(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("small") / "p.png"
    Image.effect_noise((60, 50), 40).convert("RGB").save(path)
    return str(path)


@pytest.mark.parametrize("outputs", [600, pytest.param(50_000, marks=[pytest.mark.matrix, pytest.mark.timeout(14400)])])
def test_random_turns_keep_tokens_images_and_positions_consistent(model, small_picture, outputs):
    """The numbers are turns of each model family; the larger one makes 100,000."""
    assert asyncio.run(roll_out(model, small_picture, seed=outputs, outputs=outputs)) >= outputs
