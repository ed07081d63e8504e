# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The policy of a rehearsal says what its script says, in any context and for any tools."""

from __future__ import annotations

import random

import pytest
import torch

from verl_mapo.rehearsal.policy import add_texts, find_model, follow, is_thinking
from verl_mapo.rehearsal.script import END, ENDING, STATES, TURN, write_script
from verl_mapo.rollout.parser import ToolCall, read_calls
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import CoordinateSpace
from verl_mapo.toy.tiny_vlm import build_model, build_processor

SPACES = [CoordinateSpace.pixels, CoordinateSpace.normalized_1000, CoordinateSpace.normalized_1]


def written(script, rng):
    """One turn of a policy that follows a script exactly."""
    state, text = TURN, ""
    while True:
        said = script.follows[state]
        (next_text,) = rng.choices([*said], [*said.values()])
        if next_text == END:
            return text
        text, state = text + next_text, script.leads_to.get(next_text, ENDING)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("describe", ["before", "after", "both"])
@pytest.mark.parametrize("thinking", [False, True])
def test_turns_call_every_tool_well_and_some_wrongly_and_answer(space, describe, thinking):
    settings = VisualToolSettings(tools=["zoom", "rotate", "mark"], describe=describe)
    script = write_script(settings, space, 28, ["2", "3"], thinking)
    assert {*script.follows} == {*STATES}
    assert all(sum(said.values()) == pytest.approx(1) for said in script.follows.values())
    tools, rng = settings.build_tools(space, 28), random.Random(0)
    turns = [written(script, rng) for _ in range(400)]
    calls = [call for turn in turns for call in read_calls(turn, thinking)]
    good = [call for call in calls if isinstance(call, ToolCall) and call.name in tools]
    assert {call.name for call in good} == {*tools} and len(good) < len(calls)
    for call in good:
        tools[call.name].parse(call.arguments)  # raises if the arguments have the wrong form
    assert any("<answer>2</answer>" in turn for turn in turns) and any("<answer>3</answer>" in turn for turn in turns)
    assert any("<description>" in turn for turn in turns) is (describe != "before")


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@torch.no_grad()
def test_next_token_of_the_model_is_the_one_of_the_script_in_any_context(family):
    processor = build_processor(family)
    script = write_script(
        VisualToolSettings(), CoordinateSpace.of_model(family), 28, ["2", "3"], is_thinking(processor)
    )
    tokenizer = processor.tokenizer
    add_texts(tokenizer, script)
    model = build_model(family, tokenizer, seed=0, vocabulary=len(tokenizer) + 50).eval()
    follow(model, processor, script)
    noise = torch.randint(0, 200, (60,), generator=torch.manual_seed(0)).tolist()
    before = {text: state for text, state in script.leads_to.items()} | {
        "assistant\n": TURN,
        "<answer>2</answer>": ENDING,
    }
    for text, state in before.items():
        ids = torch.tensor([noise + tokenizer.encode(text, add_special_tokens=False)])
        found = model(input_ids=ids).logits[0, -1].softmax(0)
        said = script.follows[state]
        for next_text, share in said.items():
            token = tokenizer.convert_tokens_to_ids(next_text)
            assert found[token] == pytest.approx(share, rel=0.5), (text, next_text)
        unexpected = 1 - sum(found[tokenizer.convert_tokens_to_ids(each)].item() for each in said)
        assert abs(unexpected) < 1e-5, text
    assert tokenizer.decode(tokenizer.encode("a" + "".join(script.texts))) == "a" + "".join(script.texts)


@pytest.mark.parametrize(
    ("name", "family", "vocabulary"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", 152_064),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", 151_936),
        ("Qwen/Qwen3-VL-8B-Thinking", "qwen3_vl", 151_936),
        ("/models/qwen2_5_vl-sft", "qwen2_5_vl", 152_064),
    ],
)
def test_family_of_a_model_is_read_from_its_name(name, family, vocabulary):
    found = find_model(name)
    assert (found.family, found.vocabulary, found.folder) == (family, vocabulary, None)


def test_family_and_tokenizer_are_those_of_a_folder_where_there_is_one(tiny_models):
    model = tiny_models["qwen3_vl"]
    found = find_model(str(model.folder))
    assert (found.family, found.folder, found.vocabulary) == ("qwen3_vl", model.folder, len(model.tokenizer))


def test_model_of_an_unknown_family_is_refused_in_words():
    with pytest.raises(ConfigError, match="my-model is no folder .* Qwen/Qwen3-VL-8B-Instruct"):
        find_model("my-model")


def test_qwen3_5_is_refused_by_name_and_by_folder(tiny_models):
    for path in ("Qwen/Qwen3.5-9B", str(tiny_models["qwen3_5"].folder)):
        with pytest.raises(ConfigError, match=f"{path} is a Qwen3.5, which cannot be rehearsed: vLLM's CPU build"):
            find_model(path)
