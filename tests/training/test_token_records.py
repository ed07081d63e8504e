# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Records of tokens: their texts join to the response, numbers stand beside them, and groups are whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_queue import jagged

from verl_mapo.advantages.visual_credit import VisualCreditSettings, visual_factors
from verl_mapo.names import VGPO
from verl_mapo.training.step_batch import StepBatch
from verl_mapo.training.token_records import TOKEN_ROLLOUTS, describe_tokens, pieces
from verl_mapo.training.visual_credit import Credited

NAN = float("nan")


def credited(focus: list[list[float]], written: list[list[int]]) -> Credited:
    score, mask = torch.tensor(focus), torch.tensor(written)
    group = torch.zeros(len(score), dtype=torch.int64)
    return Credited(score, mask, visual_factors(score, ~score.isnan(), mask, group, VisualCreditSettings()))


def step_of(queue, keys: list[str], responses: list, advantages: list, credit: Credited, padding: int = 0) -> StepBatch:
    """A step after visual credit; the last ``padding`` rows are padding."""
    queue.fields["response_mask"] = jagged([torch.ones(len(row)) for row in responses])
    queue.fields["rm_scores"] = jagged([torch.zeros(len(row)) for row in responses])
    queue.fields |= {"responses": jagged(responses), "advantages": jagged(advantages)}
    batch = queue.batch(keys, is_padding=[row >= len(keys) - padding for row in range(len(keys))])
    step = StepBatch.fetch(batch, number=1, fields=["responses"])
    step.expect_estimate(batch)
    step.results[VGPO] = credit
    return step


def test_only_policy_tokens_are_recorded(queue, model):
    ids = model.tokenizer.encode("I look. A crop. It is A")
    words, observation = ids[:4], ids[4:6]
    responses = [torch.tensor([*words[:2], *observation, *words[2:]]), torch.tensor(words[:1])]
    focus = [[NAN, 0.25, 0.123456, NAN, 0.5, 0.75], [0.5] + [NAN] * 5]
    credit = credited(focus, [[1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]])
    advantages = [torch.tensor([0.1, 0.2, 0.0, 0.0, 1 / 3, -2 / 3]), torch.tensor([-1.0])]
    told = describe_tokens(step_of(queue, ["a_0_0", "a_1_0"], responses, advantages, credit), model.tokenizer)
    assert told[0] == {
        "tokens": [model.tokenizer.decode([word]) for word in words],
        "focus": [None, 0.25, 0.5, 0.75],
        "advantage": [0.1, 0.2, 0.3333, -0.6667],
        "stretches": [2, 2],
        "trajectory_factor": pytest.approx(float(credit.factors.trajectory[0]), abs=5e-5),
    }
    assert (told[1]["tokens"], told[1]["stretches"]) == ([model.tokenizer.decode(words[:1])], [1])


@settings(suppress_health_check=list(HealthCheck), max_examples=50)
@given(text=st.text())
def test_pieces_of_any_text_join_to_the_text(model, text):
    ids = model.tokenizer.encode(text)
    found = pieces(ids, model.tokenizer.decode)
    assert len(found) == len(ids) and "".join(found) == model.tokenizer.decode(ids)


@settings(suppress_health_check=list(HealthCheck), max_examples=50)
@given(ids=st.lists(st.integers(0, 299), max_size=16))
def test_pieces_of_any_tokens_join_to_their_decoding(model, ids):
    assert "".join(pieces(ids, model.tokenizer.decode)) == model.tokenizer.decode(ids)


def test_bytes_that_are_no_text_are_decoded_in_linear_time(model):
    half, decoded = model.tokenizer.encode("\U0001f600")[0], []
    found = pieces([half] * 4096, lambda ids: decoded.append(len(ids)) or model.tokenizer.decode(ids))
    assert len(found) == 4096 and sum(decoded) < 10 * 4096


def test_character_of_several_tokens_is_whole_in_the_last_of_them(model):
    ids = model.tokenizer.encode("a\U0001f600b")
    assert len(ids) > 3, "the tokenizer spells it in bytes"
    assert pieces(ids, model.tokenizer.decode) == ["a", *[""] * (len(ids) - 3), "\U0001f600", "b"]
    assert pieces(ids[:2], model.tokenizer.decode) == ["a", "\ufffd"], "cut off, and not lost"


@pytest.mark.parametrize(("group", "told"), [(1, 32), (5, 30), (8, 32), (40, 40)])
def test_whole_groups_are_recorded_in_uid_order_without_padding(queue, model, group, told):
    keys = [f"{uid:02d}_{session}_0" for session in range(group) for uid in range(39, -1, -1)]
    rows = len(keys) + 1
    responses, advantages = [torch.tensor([40])] * rows, [torch.ones(1)] * rows
    credit = credited([[0.5]] * rows, [[1]] * rows)
    step = step_of(queue, [*keys, "00_pad_0"], responses, advantages, credit, padding=1)
    found = describe_tokens(step, model.tokenizer)
    expected = max(TOKEN_ROLLOUTS // group, 1)
    assert len(found) == told
    assert {keys[row].split("_")[0] for row in found} == {f"{uid:02d}" for uid in range(expected)}
