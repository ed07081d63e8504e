# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered prompts and their lengths are those of the agent loop, for the tiny and for the released tokenizers."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pytest
from support.converted import blank, write_rows
from support.converted import row as a_row

from verl_mapo.data import prompt_text
from verl_mapo.data.prompt_text import IMAGE, PromptText
from verl_mapo.data.read_rows import read_rows
from verl_mapo.data.reasons import LeftOut
from verl_mapo.data.stats import image_tokens
from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.rollout.prompt_length import PromptLength
from verl_mapo.settings import ConfigError

RUNS = {
    "defaults": [],
    "other tools": ["visual_tool.tools=[zoom,rotate,mark]", "visual_tool.describe=both"],
    "limits": ["visual_tool.max_image_pixels=100352", "+data.apply_chat_template_kwargs.enable_thinking=false"],
}


@pytest.fixture(scope="module", autouse=True)
def tokenizers_are_read_once():
    """A released tokenizer takes a second to read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_text, "_tokenizer", cache(prompt_text._tokenizer))
        yield


@pytest.fixture
def rows(tmp_path):
    large, wide = blank(tmp_path / "large.png", (900, 700)), blank(tmp_path / "wide.png", (1500, 200))
    made = [
        a_row(0, large),
        a_row(1, large, wide, question="First <image>, then <image>: naïve 图 <|image_pad|> <|im_end|>?"),
        a_row(2, large, asked={"max_pixels": 70_000}),
        a_row(3, question="Without an image: <tool_call>"),
    ]
    return [*read_rows(write_rows(tmp_path / "set", made))]


def as_the_loop_reads(row):
    """The messages of a row with their pictures, as verl makes them."""
    pictures = iter(row.images)

    def part(part):
        if part["type"] != "image":
            return part
        picture, asked = next(pictures)
        limit = {"max_pixels": asked.max_pixels} if asked.max_pixels else {}
        return {"type": "image", "image": f"file://{picture.path}", **limit}

    filled = lambda content: content if isinstance(content, str) else [part(each) for each in content]
    return [{**message, "content": filled(message["content"])} for message in row.messages]


@pytest.mark.parametrize("run", RUNS)
def test_length_is_that_of_the_agent_loop(tiny_models, released_models, rows, run):
    config = composed(PRIMARY, RUNS[run])
    for model in (*tiny_models.values(), *released_models.values()):
        text, expected = PromptText(model.folder, config), PromptLength(config, model.tokenizer, model.processor)
        lengths = text.lengths([text.render(row) for row in rows])
        for row, length in zip(rows, lengths, strict=True):
            whole = length - len(row.images) + sum(image_tokens(row, text.resize))
            assert whole == expected(as_the_loop_reads(row)), (model.folder, row.number)


def test_prompt_declares_the_tools_once_and_has_one_token_for_each_image(released_models, rows):
    config = composed(PRIMARY, [])
    for model in released_models.values():
        text = PromptText(model.folder, config)
        rendered = text.render(rows[1])
        assert rendered.count("<tools>\n") == 1 and rendered.count('"name": "zoom"') == 1
        assert rendered.count(IMAGE) == 2
        assert "# Tools" not in text.render(rows[3])


def test_template_that_refuses_a_prompt_leaves_the_row_out(released_models, rows):
    text = PromptText(released_models["qwen3_5"].folder, composed(PRIMARY, []))
    asked_by_nobody = SimpleNamespace(messages=[{"role": "assistant", "content": "Hello."}])
    with pytest.raises(LeftOut, match="chat template refuses"):
        text.render(asked_by_nobody)


@pytest.mark.parametrize("lost", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"])
def test_model_that_lacks_a_file_is_refused(tiny_models, tmp_path, lost):
    for file in tiny_models["qwen2_5_vl"].folder.iterdir():
        if file.name != lost and file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match=lost):
        PromptText(tmp_path, composed(PRIMARY, []))
