# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A demonstration has the tokens that the loop would produce."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from support.scripted import compose_config, play
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from verl_mapo.rollout import prompts
from verl_mapo.toy.dialogue import (
    END,
    Demonstration,
    DemonstrationRates,
    DialogueWriter,
    answer,
    call,
    draw_demonstration,
    messages,
    thought,
)
from verl_mapo.toy.visual_search import GRID, Question, VisualSearch

SCENE = VisualSearch().scene(0, "train", 5)


def demonstration(writer: DialogueWriter):
    """Tokens of one dialogue, the turns that the model writes in it, the image history and the crop."""
    shown = Demonstration(SCENE.question, "K", SCENE.question.target.name, SCENE.question.target.cell)
    history = writer.image_history(SCENE.image)
    crop = writer.zoom_at(history, shown.cell)
    tokens = writer.dialogue(shown, ("scene", history.images[0].size), ("crop", crop.image.size))
    subject = SCENE.question.subject
    turns = [thought(subject) + call(shown.label, writer.frame.box(shown.cell)), answer("K")]
    return tokens, turns, history, crop


def test_continuous_token_builder_of_verl_gives_the_same_tokens(writer):
    tokens, turns, history, crop = demonstration(writer)
    processor, tokenizer = writer.processor, writer.processor.tokenizer
    family = "qwen3_vl" if writer.frame.patch == 16 else "qwen2_5_vl"
    builder = create_continuous_token_builder(tokenizer, hf_model_type=family, processor=processor)
    prompt = messages(SCENE.question.text, writer.settings, writer.space, writer.frame.token_side)
    ids = builder.build_initial_tokens(prompt, images=history.images)
    mask = [False] * len(ids)
    for number, turn in enumerate(turns):
        if number:
            message = prompts.observation((prompts.image_text(1, crop.image.size), crop.image))
            ids = builder.merge_context_tokens([], [message], ids).token_ids
            mask += [False] * (len(ids) - len(mask))
        ids = builder.merge_assistant_tokens(ids, tokenizer.encode(turn, add_special_tokens=False)).token_ids
        mask += [True] * (len(ids) - len(mask))
    assert tokens.ids == ids
    assert tokens.trained == mask
    assert tokens.images == ["scene", "crop"]


def test_loop_gives_the_same_tokens(writer, tmp_path):
    tokens, turns, _, crop = demonstration(writer)
    SCENE.image.save(tmp_path / "scene.png")
    model = SimpleNamespace(
        tokenizer=writer.processor.tokenizer,
        processor=writer.processor,
        model_type="qwen3_vl" if writer.frame.patch == 16 else "qwen2_5_vl",
    )
    user = [{"type": "image", "image": str(tmp_path / "scene.png")}, {"type": "text", "text": SCENE.question.text}]
    prompt = [{"role": "system", "content": prompts.DEFAULT_SYSTEM}, {"role": "user", "content": user}]
    output = play(model, compose_config(), prompt, [turn.removesuffix(END) for turn in turns])
    assert output.prompt_ids + output.response_ids == tokens.ids
    assert [False] * len(output.prompt_ids) + [bool(mask) for mask in output.response_mask] == tokens.trained
    assert output.multi_modal_data["images"][1].tobytes() == crop.image.tobytes()


@pytest.mark.parametrize("cell", range(GRID * GRID))
def test_demonstrated_crop_is_three_by_three_tokens_around_its_cell(writer, cell):
    history = writer.image_history(SCENE.image)
    assert history.images[0].size == writer.frame.scene_size
    crop = writer.zoom_at(history, cell)
    assert crop.image.size == writer.frame.crop_size
    middle = [(crop.view.region[axis] + crop.view.region[axis + 2]) / 2 / 112 for axis in (0, 1)]
    assert middle == [cell % GRID + 0.5, cell // GRID + 0.5]


def draw(rates: DemonstrationRates, question: Question, count: int = 400) -> list[Demonstration]:
    rng = random.Random(0)
    return [draw_demonstration(SCENE.objects, SCENE.empty_cells[:2], question, "XY", rates, rng) for _ in range(count)]


def test_demonstration_at_the_target_has_the_correct_answer():
    target = SCENE.question.target
    for shown in draw(DemonstrationRates(p_right=1.0), SCENE.question, 20):
        assert (shown.label, shown.cell, shown.answer) == (target.name, target.cell, target.letter)


def test_demonstration_at_another_cell_answers_what_its_crop_shows():
    shown = draw(DemonstrationRates(p_right=0.6), SCENE.question)
    target = SCENE.question.target
    assert 0.55 < sum(one.cell == target.cell for one in shown) / len(shown) < 0.75
    letters = {each.cell: each.letter for each in SCENE.objects}
    for one in shown:
        assert one.answer == letters[one.cell] if one.cell in letters else one.answer in "XY"


def test_demonstrations_call_at_their_rates():
    optional = VisualSearch(no_zoom_share=1).ask(SCENE.objects, random.Random(1))
    rates = DemonstrationRates(p_call=0.8, p_call_optional=0.3)
    assert 0.7 < sum(one.cell is not None for one in draw(rates, SCENE.question)) / 400 < 0.9
    assert 0.2 < sum(one.cell is not None for one in draw(rates, optional)) / 400 < 0.4
    assert {one.answer for one in draw(rates, optional)} == {optional.answer}


@pytest.mark.parametrize("rate", ["p_right", "p_call", "p_call_optional"])
def test_rate_outside_zero_to_one_is_refused(rate):
    for value in (-0.1, 1.1):
        with pytest.raises(ValidationError, match=rate):
            DemonstrationRates(**{rate: value})
