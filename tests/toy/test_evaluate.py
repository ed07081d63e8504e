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
"""The smoke warm start: most rollouts have the right form; and the figures mean what they say."""

from __future__ import annotations

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from verl_mapo.toy.dialogue import Script
from verl_mapo.toy.evaluate import evaluate, roll_out
from verl_mapo.toy.visual_search import VisualSearch


def test_most_rollouts_call_look_and_answer(toy):
    figures = evaluate(toy.model, VisualSearch(), scenes=48, temperature=1.0)
    assert figures.call > 0.6 and figures.form > 0.6
    assert 0 <= figures.right <= figures.form and 0 <= figures.hit <= figures.call


def test_greedy_figures_are_the_same_every_time(toys):
    first, second = (evaluate(toys["qwen2_5_vl"].model, VisualSearch(), 6, 0.0, batch=batch) for batch in (6, 4))
    assert first == second
    assert first.call == pytest.approx(1.0)


def test_a_rollout_marks_what_the_model_wrote(toy):
    model = AutoModelForImageTextToText.from_pretrained(toy.model).eval()
    script = Script(AutoProcessor.from_pretrained(toy.model), model.config.model_type)
    called = [rollout for rollout in roll_out(model, script, VisualSearch(), 4, temperature=0.0) if rollout.called]
    assert called
    for rollout in called:
        wrote = [token for token, policy in zip(rollout.ids, rollout.policy, strict=True) if policy]
        thought, answer = script.processor.tokenizer.decode(wrote).split("</tool_call><|im_end|>")
        assert thought.startswith("<think>") and answer.removesuffix("<|im_end|>") == rollout.text
        sides = [size // script.frame.token_side for image in rollout.gallery.images for size in image.size]
        assert rollout.ids.count(script.image_token) == sides[0] * sides[1] + sides[2] * sides[3]
        assert script.image_token not in wrote
