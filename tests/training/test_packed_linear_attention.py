# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Packed rows of Qwen3.5 through verl's own engine and forward functions, without flash-linear-attention."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.passes import log_prob_pass, rows_of, tiny_engine, use_verl_forward
from transformers.models.qwen3_5.modeling_qwen3_5 import torch_chunk_gated_delta_rule

from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.training.focus_engine import FOCUS
from verl_mapo.training.visual_credit import focus_request

PATCH = Path(__file__).parents[2] / "docs" / "upstream" / "verl-0.9.1-qwen3_5-packed-rows.patch"


@pytest.fixture
def model(tiny_models):
    return tiny_models["qwen3_5"]


@pytest.fixture
def engine(model, monkeypatch):
    engine = tiny_engine(model.folder, monkeypatch)
    use_verl_forward(engine, monkeypatch)
    return engine


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


def test_update_of_packed_rows_has_the_gradients_of_padded_rows(engine, rows):
    found = []
    for packed in (False, True):
        engine.module.zero_grad()
        output = log_prob_pass(engine, rows, None, gradients=True, use_remove_padding=packed)["log_probs"]
        sum(values[:-1].sum() for values in output.unbind()).backward()
        layer = engine.module.get_decoder().layers[0].linear_attn
        found.append([weight.grad.clone() for weight in layer.parameters()])
    for padded, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, padded, rtol=1e-3, atol=1e-3)


def test_verl_still_needs_the_correction(engine, rows, monkeypatch):
    """When this test fails, verl has mended it: remove packed_linear_attention.py and its patch in docs/upstream/."""
    from verl.models.transformers import qwen3_5

    monkeypatch.setattr(qwen3_5, "_call_accepts_kwarg", qwen3_5._call_accepts_kwarg.__wrapped__)
    assert max(difference(engine, rows, [[0]])) < 1e-4, "the first row has no row before it"
    assert difference(engine, rows, [[0, 1, 2]])[0] > 0.05


def test_patch_for_verl_applies_to_the_installed_verl_and_mends_it(tmp_path, monkeypatch):
    from verl.models.transformers import qwen3_5

    name = "verl.models.transformers.qwen3_5"
    file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    file.write_text(Path(importlib.util.find_spec(name).origin).read_text())
    subprocess.run(["git", "apply", "--unsafe-paths", f"--directory={tmp_path}", PATCH], check=True, cwd=tmp_path)
    spec = importlib.util.spec_from_file_location("patched_qwen3_5", file)
    patched = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, patched)
    spec.loader.exec_module(patched)
    for function in (torch_chunk_gated_delta_rule, lambda x, cu_seqlens: x, lambda x: x):
        for keyword in ("cu_seqlens", "cp_context"):
            assert patched._call_accepts_kwarg(function, keyword) is qwen3_5._call_accepts_kwarg(function, keyword)
    assert not patched._call_accepts_kwarg(torch_chunk_gated_delta_rule, "cu_seqlens")
