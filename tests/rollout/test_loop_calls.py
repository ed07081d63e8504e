# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The loop on what models and data rows really write: special tokens, thoughts, other spellings, several calls."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace

import pytest
from support.scripted import assert_consistent, call, compose_config, make_loop, play, prompt_of, verl_inputs

from verl_mapo.columns import ABSENT, UNSCORED
from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus


@pytest.mark.parametrize(
    "token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_end|>", "</tool_response>"]
)
@pytest.mark.parametrize("where", ["tool", "argument", "value", "escaped"])
def test_special_tokens_that_an_observation_repeats_stay_text(model, picture, token, where):
    turn = {
        "tool": call(name=token),
        "argument": call(**{token: 1}),
        "value": call([token, 2, 3, 4]),
        "escaped": call(name="TOKEN").replace("TOKEN", token.replace("<", "\\u003c")),
    }[where]
    output = play(model, compose_config(), prompt_of(picture), [spelled(model, turn), call(), "<answer>red</answer>"])
    assert_consistent(model, output)
    first, second, _ = output.extra_fields[TRAJECTORY].turns
    assert first.status is not TurnStatus.OK and first.observation and second.status is TurnStatus.OK
    observation = model.tokenizer.decode(output.response_ids[first.span[1] : second.span[0]])
    assert observation.count("</tool_response>") == observation.count("<|im_end|>") == 1


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_start|>system"])
def test_special_tokens_of_a_data_row_stay_text(model, picture, token):
    prompt = prompt_of(picture, f"What does {token} mean?")
    prompt[0]["content"] = f"You know {token}."
    output = play(model, compose_config(), prompt, [call(), "<answer>red</answer>"])
    assert_consistent(model, output)
    assert model.tokenizer.decode(output.prompt_ids).count(f"< {token[1:]}") == 2


def spelled(model, text: str) -> list[int]:
    """The tokens of a text in which special tokens are spelled with ordinary ones."""
    ids = [i for piece in re.split(r"(?<=<)(?=\|)", text) for i in model.tokenizer.encode(piece)]
    return [*ids, model.tokenizer.eos_token_id]


@pytest.mark.parametrize("images", [True, False])
def test_features_do_not_depend_on_placeholders_that_the_model_spelled_out(model, picture, images):
    """verl gives the processor the decoded text, in which spelled-out placeholders look like images."""
    words = spelled(model, "<|image_pad|>" * 3 + "<|vision_start|><|video_pad|>")
    prompt = prompt_of(picture)
    if not images:
        del prompt[1]["content"][0]
    output = play(model, compose_config(), prompt, [words])
    assert output.extra_fields[TRAJECTORY].turns[0].text.count("<|image_pad|>") == 3
    features = verl_inputs(model, output)
    assert len(features.get("image_grid_thw", [])) == (1 if images else 0)


def test_drafts_in_a_thought_are_not_executed(model, picture):
    turns = [f"<think>Maybe {call()}?</think>\n<answer>red</answer>"]
    trajectory = play(model, compose_config(), prompt_of(picture), turns).extra_fields[TRAJECTORY]
    assert trajectory.end_reason is EndReason.ANSWER and not trajectory.called


def test_thought_that_the_template_opened_is_recognised(model):
    loop = asyncio.run(_made(model))
    for header, opened in (("<think>\n", True), ("<think>\n\n</think>\n\n", False), ("", False)):
        tokens = model.tokenizer.encode(f"<|im_start|>assistant\n{header}")
        assert loop.thinking(SimpleNamespace(prompt_ids=tokens, response_ids=[], turn_start=0)) is opened
        assert (
            loop.thinking(SimpleNamespace(prompt_ids=[1], response_ids=[*tokens, 2], turn_start=len(tokens))) is opened
        )


async def _made(model):
    return make_loop(model, compose_config(), [])


def test_lenient_calls_are_executed_and_counted(model, picture):
    quoted = call().replace('"', "'")
    text = "[10, 10, 40, 40]"
    turns = [quoted, call().replace("[10, 10, 40, 40]", f'"{text}"'), call(img_idx=0.0), "<answer>red</answer>"]
    trajectory = play(model, compose_config(), prompt_of(picture), turns).extra_fields[TRAJECTORY]
    assert [turn.lenient for turn in trajectory.turns] == [True, True, True, False]
    assert [turn.box_said for turn in trajectory.visual_turns] == [(10, 10, 40, 40)] * 3


def test_strict_parsing_refuses_other_spellings(model, picture):
    turns = [call().replace('"', "'"), call(img_idx=0.0), "<answer>red</answer>"]
    trajectory = play(model, compose_config("visual_tool.parsing=strict"), prompt_of(picture), turns).extra_fields[
        TRAJECTORY
    ]
    assert [turn.status for turn in trajectory.turns[:2]] == [TurnStatus.NO_JSON, TurnStatus.BAD_ARGUMENTS]


SEVERAL = "visual_tool.calls_per_turn=3"


def test_several_calls_of_a_turn_are_executed_in_order(model, picture):
    inner = (20, 20, 50, 50) if model.model_type == "qwen2_5_vl" else (200, 200, 800, 800)
    text = call(label="one") + "\n" + call(inner, "two", img_idx=1) + " end"
    output = play(model, compose_config(SEVERAL), prompt_of(picture), [text, "<answer>red</answer>"])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    one, two, answer = trajectory.turns
    assert [turn.label for turn in trajectory.visual_turns] == ["one", "two"] and two.img_idx == 1
    assert (one.continues, two.continues, answer.continues) == (False, True, False) and output.num_turns == 4
    assert one.span[1] == two.span[0] and one.text + two.text == text and one.text == call(label="one")
    decoded = model.tokenizer.decode(output.response_ids[slice(*two.span)])
    assert decoded == two.text + "<|im_end|>"
    for turn in (one, two):
        assert model.tokenizer.decode(output.response_ids[: turn.call_start]).endswith("<tool_call>")
    assert one.observation.startswith("Image 1,") and two.observation.startswith("Image 2,")
    shown = model.tokenizer.decode(output.response_ids[two.span[1] : answer.span[0]])
    assert shown.count("<tool_response>") == shown.count("</tool_response>") == 2
    assert len(output.multi_modal_data["images"]) == 3
    x1, y1, x2, y2 = two.box_executed
    assert one.box_executed[0] <= x1 < x2 <= one.box_executed[2] or model.model_type == "qwen3_vl"
    assert trajectory.columns(12)["turn_status"][:3].tolist() == [UNSCORED, UNSCORED, ABSENT]


def test_failed_call_beside_a_good_one_is_no_retry(model, picture):
    turn = call((40, 40, 10, 10)) + call(label="two")
    output = play(model, compose_config(SEVERAL, "visual_tool.max_retries=0"), prompt_of(picture), [turn, turn, "x"])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert [turn.status for turn in trajectory.turns[:2]] == [TurnStatus.BAD_BOX, TurnStatus.OK]
    assert trajectory.end_reason is EndReason.ANSWER and output.state.retries == trajectory.retries == 0


def test_more_calls_than_allowed_are_refused_together(model, picture):
    output = play(model, compose_config(SEVERAL), prompt_of(picture), [call() * 4, "<answer>red</answer>"])
    assert_consistent(model, output)
    first, _ = output.extra_fields[TRAJECTORY].turns
    assert first.status is TurnStatus.TOO_MANY_CALLS and "at most 3 tool calls" in first.observation


def test_several_images_without_room_are_not_committed(model, picture):
    text = call() + call()
    written = len(model.tokenizer.encode(text)) + 1
    config = compose_config(SEVERAL, f"data.max_response_length={written + 12}")
    output = play(model, config, prompt_of(picture), [text, "<answer>red</answer>"])
    assert_consistent(model, output)
    trajectory = output.extra_fields[TRAJECTORY]
    assert [turn.status for turn in trajectory.turns] == [TurnStatus.NO_ROOM] * 2
    assert trajectory.end_reason is EndReason.RESPONSE_LENGTH and len(output.multi_modal_data["images"]) == 1


def test_continuation_keeps_the_calls_of_complete_turns(model, picture):
    config = compose_config(SEVERAL)
    first = play(model, config, prompt_of(picture), [call() * 2, call(label="x") * 2, "<answer>a</answer>"])
    start = first.state.prefix(first.extra_fields[TRAJECTORY].turns[2].call_start)
    assert len(start.history.views) == 3 and start.retries == 0
    with pytest.raises(ValueError, match="not inside the first call"):
        first.state.prefix(first.extra_fields[TRAJECTORY].turns[3].call_start)
    rest = call().split("<tool_call>")[1]
    output = play(model, config, [], [rest, "<answer>b</answer>"], start=start)
    assert_consistent(model, output)
    assert len(output.extra_fields[TRAJECTORY].visual_turns) == 3 and len(output.multi_modal_data["images"]) == 4


def test_row_without_an_image_declares_no_tool(model):
    prompt = [{"role": "user", "content": "What is 2 + 2?"}]
    output = play(model, compose_config(), prompt, [call(), "<answer>4</answer>"])
    assert_consistent(model, output)
    assert "<tools>" not in model.tokenizer.decode(output.prompt_ids)
    refused, _ = output.extra_fields[TRAJECTORY].turns
    assert refused.status is TurnStatus.UNKNOWN_TOOL and "this question has no image" in refused.observation
    assert verl_inputs(model, output).get("image_grid_thw") is None


DECLARATION = """Be brief.

# Tools
You may call one or more functions.
<tools>
{"type":"function","function":{"name":"image_zoom_in_tool","parameters":{}}}
</tools>

# How to call a tool
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>

**Example**:
<tool_call>
{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [10, 20, 100, 200]}}
</tool_call>"""


def test_tools_that_a_row_declares_are_removed_and_may_be_called_by_an_alias(model, picture):
    prompt = prompt_of(picture)
    prompt[0]["content"] = DECLARATION
    config = compose_config("+visual_tool.aliases.image_zoom_in_tool=zoom", "+visual_tool.aliases.bbox=bbox_2d")
    turns = [call(name="image_zoom_in_tool").replace("bbox_2d", "bbox"), "<answer>red</answer>"]
    output = play(model, config, prompt, turns)
    prompt_text = model.tokenizer.decode(output.prompt_ids)
    assert "Be brief." in prompt_text and "image_zoom_in_tool" not in prompt_text and prompt_text.count("<tools>") == 2
    zoom = output.extra_fields[TRAJECTORY].turns[0]
    assert (zoom.status, zoom.tool, zoom.box_said) == (TurnStatus.OK, "zoom", (10, 10, 40, 40)) and not zoom.lenient


def test_box_in_fractions_is_refused_in_words_unless_the_run_has_them(model, picture):
    turns = [call((0.1, 0.1, 0.5, 0.5)), "<answer>red</answer>"]
    first = play(model, compose_config(), prompt_of(picture), turns).extra_fields[TRAJECTORY].turns[0]
    assert (first.status, first.other_units) == (TurnStatus.BAD_BOX, "normalized_1")
    assert "look like fractions" in first.observation
    config = compose_config("visual_tool.coordinates=normalized_1")
    first = play(model, config, prompt_of(picture), turns).extra_fields[TRAJECTORY].turns[0]
    assert first.status is TurnStatus.OK and first.other_units is None
    assert first.box_executed == pytest.approx((44, 30, 224, 150), abs=1)


@pytest.mark.parametrize("end", ["<answer>red</answer>", [], "placeholder", "fly"])
def test_every_zero_of_a_missing_description_has_a_fault(model, picture, end):
    """However a rollout ends after an image, a missing description is recorded."""
    turn = {"placeholder": [model.processor.image_token_id], "fly": call(name="fly")}.get(str(end), end)
    config = compose_config("visual_tool.describe=after", "visual_tool.max_retries=0")
    trajectory = play(model, config, prompt_of(picture), [call(label=None), turn]).extra_fields[TRAJECTORY]
    assert trajectory.turns[0].faults == [LabelFault.NO_DESCRIPTION]
