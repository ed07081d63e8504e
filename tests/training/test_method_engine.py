# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Focus inside verl's own log-prob pass, on tiny models of both families."""

from __future__ import annotations

import pytest
import torch
from support.passes import log_prob_pass, rows_of, tiny_engine
from verl.utils import tensordict_utils as tu
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.training.method_engine import FOCUS
from verl_mapo.training.visual_credit import focus_request


@pytest.fixture
def engine(model, monkeypatch):
    return tiny_engine(model.folder, monkeypatch)


def slow_focus(engine, row: dict, image_token: int, latest: bool = False) -> dict[int, float]:
    """Eq. 1 and 2, a token at a time, from the states of an ordinary forward pass of one row."""
    with torch.no_grad():
        states = engine.module.model(
            input_ids=row["input_ids"][None], position_ids=row["position_ids"][:, None], **row["multi_modal_inputs"]
        ).last_hidden_state[0]
    ids, begin = row["input_ids"].tolist(), len(row["input_ids"]) - len(row["response_mask"])
    found = {}
    for token in range(begin, len(ids)):
        if row["response_mask"][token - begin]:
            seen = [place for place in range(token) if ids[place] == image_token]
            if latest:
                seen = [place for place in seen if all(other == image_token for other in ids[place : seen[-1] + 1])]
            prototype = states[seen].mean(dim=0)
            found[token] = (torch.cosine_similarity(states[token], prototype, dim=0).item() + 1) / 2
    return found


@pytest.mark.parametrize("prototype", ["all_seen", "latest"])
def test_score_of_each_policy_token_lies_where_its_log_prob_lies(engine, model, picture, prototype):
    rows, image = rows_of(engine.module, model, picture), model.processor.image_token_id
    scores = log_prob_pass(engine, rows, focus_request([image], VisualCreditSettings(prototype=prototype)))[
        FOCUS
    ].unbind()
    for row, score in zip(rows, scores, strict=True):
        expected = slow_focus(engine, row, image, prototype == "latest")
        assert {place + 1 for place in (~score.isnan()).nonzero().flatten().tolist()} == set(expected)
        for token, value in expected.items():
            assert score[token - 1].item() == pytest.approx(value, abs=1e-5)
        assert not score.requires_grad


def test_log_probs_equal_bit_for_bit_those_of_a_pass_without_a_request(engine, model, picture):
    rows = rows_of(engine.module, model, picture)
    request = focus_request([model.processor.image_token_id], VisualCreditSettings())
    asked, plain = log_prob_pass(engine, rows, request), log_prob_pass(engine, rows, None)
    assert torch.equal(asked["log_probs"].values(), plain["log_probs"].values()) and FOCUS not in plain
    assert not any(module._forward_hooks for module in engine.module.modules()), "the hook is gone"


def test_scores_do_not_depend_on_the_micro_batch(engine, model, picture):
    rows = rows_of(engine.module, model, picture)
    request = focus_request([model.processor.image_token_id], VisualCreditSettings())
    together = log_prob_pass(engine, rows, request)[FOCUS].unbind()
    for first, second in ((2, 0), (1, 2)):
        pair = log_prob_pass(engine, [rows[first], rows[second]], request)[FOCUS].unbind()
        for number, score in zip((first, second), pair, strict=True):
            assert torch.allclose(score, together[number], atol=1e-5, equal_nan=True)


def test_scores_depend_on_the_layer(engine, model, picture):
    rows, image = rows_of(engine.module, model, picture)[:2], [model.processor.image_token_id]
    requests = [focus_request(image, VisualCreditSettings(layer=layer)) for layer in (-1, 0)]
    last, first = (log_prob_pass(engine, rows, request)[FOCUS] for request in requests)
    assert not torch.allclose(last.values(), first.values(), equal_nan=True)


def test_training_pass_ignores_the_request(engine, monkeypatch):
    seen = []
    monkeypatch.setattr(FSDPEngineWithLMHead, "forward_step", lambda self, *args: seen.append(args) or (None, {}))
    data = tu.get_tensordict({"input_ids": torch.zeros(1, 1)}, {FOCUS: focus_request([1], VisualCreditSettings())})
    engine.forward_step(data, "loss", False)
    assert len(seen) == 1
