# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of the smoke-size model have the right form, and mark what the model wrote."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForImageTextToText, AutoProcessor

from verl_mapo.toy.dialogue import DialogueWriter
from verl_mapo.toy.rollouts import Rollout, roll_out
from verl_mapo.toy.visual_search import VisualSearch


def rollouts_of(folder: Path, scenes: int, temperature: float, batch: int = 64) -> tuple[DialogueWriter, list[Rollout]]:
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    writer = DialogueWriter(AutoProcessor.from_pretrained(folder), model.config.model_type)
    return writer, roll_out(model, writer, VisualSearch(), scenes, temperature, batch=batch)


def test_most_rollouts_call_the_tool_and_answer(toy):
    _, rollouts = rollouts_of(toy.model, 48, temperature=1.0)
    called = [rollout.called for rollout in rollouts]
    answered = [rollout.answer is not None for rollout in rollouts]
    assert sum(called) / 48 > 0.6 and sum(answered) / 48 > 0.6
    assert all(rollout.answer is not None for rollout in rollouts if rollout.right)


def test_greedy_rollouts_do_not_depend_on_the_batch(toys):
    first, second = (rollouts_of(toys["qwen2_5_vl"].model, 6, 0.0, batch)[1] for batch in (6, 4))
    assert [rollout.ids for rollout in first] == [rollout.ids for rollout in second]
    assert all(rollout.called for rollout in first)


def test_rollout_marks_the_tokens_that_the_model_wrote(toy):
    writer, rollouts = rollouts_of(toy.model, 4, temperature=0.0)
    called = [rollout for rollout in rollouts if rollout.called]
    assert called
    for rollout in called:
        wrote = [token for token, policy in zip(rollout.ids, rollout.policy, strict=True) if policy]
        thought, answer = writer.processor.tokenizer.decode(wrote).split("</tool_call><|im_end|>")
        assert thought.startswith("<think>") and answer.removesuffix("<|im_end|>") == rollout.text
        sides = [size // writer.frame.token_side for image in rollout.history.images for size in image.size]
        assert rollout.ids.count(writer.image_token) == sides[0] * sides[1] + sides[2] * sides[3]
        assert writer.image_token not in wrote
