# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""A demonstration is the token stream that the loop produces."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from scripted import compose_config, play
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from verl_mapo.rollout import prompts
from verl_mapo.toy.dialogue import END, Act, Demonstrations, Script, act, answer, call, messages, thought
from verl_mapo.toy.visual_search import GRID, Question, VisualSearch

SCENE = VisualSearch().scene(0, "train", 5)


def demonstration(script: Script):
    """Tokens of one dialogue, the turns the model writes in it, its gallery and its sight."""
    shown = Act(SCENE.question, "K", SCENE.question.target.name, SCENE.question.target.cell)
    gallery = script.gallery(SCENE.image)
    sight = script.look(gallery, shown.cell)
    tokens = script.dialogue(shown, ("scene", gallery.images[0].size), ("crop", sight.image.size))
    subject = SCENE.question.subject
    turns = [thought(subject) + call(shown.label, script.frame.box(shown.cell)), answer("K")]
    return tokens, turns, gallery, sight


def test_verls_continuous_token_builder_gives_the_same_tokens(script):
    tokens, turns, gallery, sight = demonstration(script)
    processor, tokenizer = script.processor, script.processor.tokenizer
    family = "qwen3_vl" if script.frame.patch == 16 else "qwen2_5_vl"
    builder = create_continuous_token_builder(tokenizer, hf_model_type=family, processor=processor)
    said = messages(SCENE.question.text, script.settings, script.space, script.frame.token_side)
    ids = builder.build_initial_tokens(said, images=gallery.images)
    mask = [False] * len(ids)
    for number, turn in enumerate(turns):
        if number:
            shown = prompts.observation(prompts.sight_text(1, sight.image.size), sight.image)
            ids = builder.merge_context_tokens([], [shown], ids).token_ids
            mask += [False] * (len(ids) - len(mask))
        ids = builder.merge_assistant_tokens(ids, tokenizer.encode(turn, add_special_tokens=False)).token_ids
        mask += [True] * (len(ids) - len(mask))
    assert tokens.ids == ids
    assert tokens.trained == mask
    assert tokens.images == ["scene", "crop"]


def test_the_loop_gives_the_same_tokens(script, tmp_path):
    tokens, turns, _, sight = demonstration(script)
    SCENE.image.save(tmp_path / "scene.png")
    model = SimpleNamespace(
        tokenizer=script.processor.tokenizer,
        processor=script.processor,
        model_type="qwen3_vl" if script.frame.patch == 16 else "qwen2_5_vl",
    )
    user = [{"type": "image", "image": str(tmp_path / "scene.png")}, {"type": "text", "text": SCENE.question.text}]
    prompt = [{"role": "system", "content": prompts.DEFAULT_SYSTEM}, {"role": "user", "content": user}]
    output = play(model, compose_config(), prompt, [turn.removesuffix(END) for turn in turns])
    assert output.prompt_ids + output.response_ids == tokens.ids
    assert [False] * len(output.prompt_ids) + [bool(mask) for mask in output.response_mask] == tokens.trained
    assert output.multi_modal_data["images"][1].tobytes() == sight.image.tobytes()


@pytest.mark.parametrize("cell", range(GRID * GRID))
def test_a_demonstrated_crop_is_three_by_three_tokens_around_its_cell(script, cell):
    gallery = script.gallery(SCENE.image)
    assert gallery.images[0].size == script.frame.scene_size
    sight = script.look(gallery, cell)
    assert sight.image.size == script.frame.crop_size
    middle = [(sight.view.region[axis] + sight.view.region[axis + 2]) / 2 / 112 for axis in (0, 1)]
    assert middle == [cell % GRID + 0.5, cell // GRID + 0.5]


def draw(how: Demonstrations, question: Question, count: int = 400) -> list[Act]:
    rng = random.Random(0)
    return [act(SCENE.objects, SCENE.empty_cells[:2], question, "XY", how, rng) for _ in range(count)]


def test_a_right_demonstration_looks_at_the_target_and_answers_rightly():
    target = SCENE.question.target
    for shown in draw(Demonstrations(p_right=1.0), SCENE.question, 20):
        assert (shown.label, shown.cell, shown.answer) == (target.name, target.cell, target.letter)


def test_a_wrong_demonstration_answers_what_it_sees():
    shown = draw(Demonstrations(p_right=0.6), SCENE.question)
    target = SCENE.question.target
    assert 0.55 < sum(one.cell == target.cell for one in shown) / len(shown) < 0.75
    letters = {thing.cell: thing.letter for thing in SCENE.objects}
    for one in shown:
        assert one.answer == letters[one.cell] if one.cell in letters else one.answer in "XY"


def test_some_demonstrations_do_not_call():
    optional = VisualSearch(no_zoom_share=1).ask(SCENE.objects, random.Random(1))
    how = Demonstrations(p_call=0.8, p_call_optional=0.3)
    assert 0.7 < sum(one.cell is not None for one in draw(how, SCENE.question)) / 400 < 0.9
    assert 0.2 < sum(one.cell is not None for one in draw(how, optional)) / 400 < 0.4
    assert {one.answer for one in draw(how, optional)} == {optional.answer}


@pytest.mark.parametrize("rate", ["p_right", "p_call", "p_call_optional"])
def test_rates_are_between_zero_and_one(rate):
    for value in (-0.1, 1.1):
        with pytest.raises(ValidationError, match=rate):
            Demonstrations(**{rate: value})
