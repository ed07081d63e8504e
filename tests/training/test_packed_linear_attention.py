# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Packed rows of Qwen3.5 through verl's own engine and forward functions, without flash-linear-attention."""

from __future__ import annotations

import pytest
import torch
from support.passes import log_prob_pass, rows_of, verl_engine
from support.upstream import patched_module
from transformers.models.qwen3_5.modeling_qwen3_5 import torch_chunk_gated_delta_rule

from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.training.method_engine import FOCUS
from verl_mapo.training.visual_credit import focus_request

PATCH = "verl-0.9.1-qwen3_5-packed-rows.patch"

PIXELS = ("pixel_values", "image_grid_thw")


@pytest.fixture
def model(tiny_models):
    return tiny_models["qwen3_5"]


@pytest.fixture
def engine(model, monkeypatch):
    return verl_engine(model.folder, monkeypatch)


@pytest.fixture
def rows(engine, model, picture):
    return rows_of(engine.module, model, picture)


def difference(engine, rows, batches) -> tuple[float, float]:
    """The largest differences of log-probs and of focus scores between padded rows and rows packed by these batches."""
    request = focus_request([engine.module.config.image_token_id], VisualCreditSettings())
    padded = log_prob_pass(engine, rows, request)
    largest = [0.0, 0.0]
    for batch in batches:
        packed = log_prob_pass(engine, [rows[number] for number in batch], request, use_remove_padding=True)
        for place, name in enumerate(("log_probs", FOCUS)):
            expected, found = padded[name].unbind(), packed[name].unbind()
            for number, values in zip(batch, found, strict=True):
                apart = (values[:-1] - expected[number][:-1]).abs().nan_to_num()  # the last has no next token
                largest[place] = max(largest[place], apart.max().item())
    return largest[0], largest[1]


def test_packed_rows_have_the_log_probs_and_scores_of_padded_rows(engine, rows):
    assert max(difference(engine, rows, [[0], [0, 1, 2], [2, 0]])) < 1e-4


def test_rows_without_images_are_packed_beside_others(engine, model, rows):
    ids = torch.tensor(model.tokenizer.encode("What is 2 + 3?<answer>5</answer>"))
    text = {"input_ids": ids, "position_ids": torch.arange(len(ids)).expand(4, -1).clone()}
    text |= {"response_mask": torch.ones(3, dtype=torch.long), "multi_modal_inputs": {}}
    assert max(difference(engine, [rows[0], text], [[1], [1, 0], [0, 1]])) < 1e-4


def test_gradients_of_packed_rows_are_the_sums_of_those_of_the_rows(engine, rows):
    weights = [*engine.module.get_decoder().layers[0].linear_attn.parameters()]

    def gradients(*batches: list[dict]) -> list[torch.Tensor]:
        for batch in batches:
            lengths = torch.tensor([0] + [len(row["input_ids"]) for row in batch]).cumsum(0)
            engine.module(
                input_ids=torch.cat([row["input_ids"] for row in batch])[None],
                position_ids=torch.cat([row["position_ids"] for row in batch], 1)[:, None],
                cu_seqlens=lengths,
                use_cache=False,
                **{key: torch.cat([row["multi_modal_inputs"][key] for row in batch]) for key in PIXELS},
            ).logits.logsumexp(-1).sum().backward()
        found = [weight.grad.clone() for weight in weights]
        engine.module.zero_grad()
        return found

    for packed, alone in zip(gradients(rows), gradients(*([row] for row in rows)), strict=True):
        assert (packed - alone).abs().max() < 1e-3 * alone.abs().max()


def test_verl_still_needs_the_correction(engine, rows, monkeypatch):
    """When this test fails, verl has mended it: remove packed_linear_attention.py and its patch in docs/upstream/."""
    from verl.models.transformers import qwen3_5

    monkeypatch.setattr(qwen3_5, "_call_accepts_kwarg", qwen3_5._call_accepts_kwarg.__wrapped__)
    assert max(difference(engine, rows, [[0]])) < 1e-4, "the first row has no row before it"
    assert difference(engine, rows, [[0, 1, 2]])[0] > 0.05


def test_patch_for_verl_applies_to_the_installed_verl_and_mends_it(tmp_path, monkeypatch):
    from verl.models.transformers import qwen3_5

    patched = patched_module("verl.models.transformers.qwen3_5", PATCH, tmp_path, monkeypatch)
    for function in (torch_chunk_gated_delta_rule, lambda x, cu_seqlens: x, lambda x: x):
        for keyword in ("cu_seqlens", "cp_context"):
            assert patched._call_accepts_kwarg(function, keyword) is qwen3_5._call_accepts_kwarg(function, keyword)
    assert not patched._call_accepts_kwarg(torch_chunk_gated_delta_rule, "cu_seqlens")
