# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Micro-batches without an image, through verl's own forward functions on tiny models of both families."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from support.passes import log_prob_pass, rows_of, verl_engine
from support.upstream import patched_file

from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.training.method_engine import FOCUS
from verl_mapo.training.visual_credit import focus_request

PATCH = "verl-0.9.1-qwen2_vl-rows-without-images.patch"


def row_without_images(model, text: str, answer: str | None) -> dict:
    """A text question and its answer; without an answer, what the loop leaves of a row whose image cannot be shown."""
    prompt = model.tokenizer.encode(text)
    response = [model.tokenizer.eos_token_id] if answer is None else model.tokenizer.encode(answer)
    ids = torch.tensor(prompt + response)
    return {
        "input_ids": ids,
        "position_ids": torch.arange(len(ids)).expand(4, -1).clone(),
        "response_mask": torch.full((len(response),), int(answer is not None)),
        "multi_modal_inputs": {},
    }


@pytest.fixture
def engine(model, monkeypatch):
    return verl_engine(model.folder, monkeypatch)


@pytest.fixture
def rows(model) -> list[dict]:
    return [row_without_images(model, "What is 2 + 3?", "<answer>5</answer>"), row_without_images(model, "q", None)]


@pytest.mark.parametrize("together", [False, True])
def test_rows_without_images_have_log_probs_and_no_focus(engine, model, rows, together):
    request = focus_request([model.processor.image_token_id], VisualCreditSettings())
    for batch in [rows] if together else [[row] for row in rows]:
        found = log_prob_pass(engine, batch, request)
        assert found["log_probs"].values().isfinite().all()
        assert found[FOCUS].values().isnan().all()


def test_log_probs_do_not_depend_on_an_image_in_another_row_of_the_micro_batch(engine, model, rows, picture):
    alone = log_prob_pass(engine, rows[:1], None)["log_probs"].unbind()[0]
    seen = rows_of(engine.module, model, picture)[:1]
    mixed = log_prob_pass(engine, [*rows[:1], *seen], None)["log_probs"].unbind()[0]
    assert torch.allclose(alone[:-1], mixed[:-1], atol=1e-5), "the last has no next token"


def test_vision_tower_takes_part_in_the_backward_pass_with_gradient_zero(engine, rows):
    """With FSDP, a rank whose rows have no image must reduce the same gradients as the others."""
    ids, place = rows[0]["input_ids"][None], rows[0]["position_ids"][:, None]
    logits = engine.module(input_ids=ids, position_ids=place, attention_mask=torch.ones_like(ids)).logits
    logits.square().mean().backward()
    gradients = [weight.grad for weight in engine.module.model.visual.parameters()]
    assert gradients and all(gradient is not None and not gradient.any() for gradient in gradients)
    assert engine.module.lm_head.weight.grad.any()


@pytest.mark.parametrize("model", ["qwen2_5_vl"], indirect=True)
def test_verl_still_needs_the_correction(engine, rows, monkeypatch):
    """When this test fails, verl has mended it: remove verl_mapo/training/rows_without_images.py and docs/upstream/."""
    from verl.models.transformers import qwen2_vl

    monkeypatch.setattr(qwen2_vl, "_get_input_embeds", qwen2_vl._get_input_embeds.__wrapped__)
    with pytest.raises(AttributeError, match="has no attribute 'mean'"):
        log_prob_pass(engine, rows, None)


def test_patch_for_verl_applies_to_the_installed_verl_and_mends_it(tmp_path):
    name = "verl.models.transformers.qwen2_vl"
    installed = Path(importlib.util.find_spec(name).origin).read_text()
    assert patched_file(name, PATCH, tmp_path).read_text() == installed.replace(
        "image_embeds = model.visual(pixel_values, grid_thw=image_grid_thw)",
        "image_embeds, _ = unpack_visual_output(model.visual(pixel_values, grid_thw=image_grid_thw))",
    )
