# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The reconstruction of SRPO: roles in responses of both families, factors by hand and against a loop, a step."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fake_queue import jagged
from support.scripted import compose_config
from support.tool_credit import step_of
from support.views import NAN, k3, score_rows, scores_of, viewed_fields
from verl.trainer.ppo.v1 import PPOTrainer

from verl_mapo.columns import PERCEPTION, UNSEEN_LOG_PROBS
from verl_mapo.relatives.srpo import PerceptionSpans, Srpo, role_factor, srpo_factors
from verl_mapo.settings import ConfigError
from verl_mapo.views.passes import VIEWS

CALL = '<tool_call>{"name": "zoom", "arguments": {"label": "a red \\"square\\"", "bbox_2d": [0, 0, 9, 9]}}</tool_call>'


def text_of(tokenizer, ids: torch.Tensor, found: torch.Tensor) -> str:
    return tokenizer.decode(ids[found.bool()])


def spans_of(model, text: str, labels: bool = True, tags: tuple[str, ...] = ("description",)):
    ids = torch.tensor(model.tokenizer.encode(text, add_special_tokens=False))
    found = PerceptionSpans(model.tokenizer, labels, tags).of(ids, torch.ones_like(ids))
    return text_of(model.tokenizer, ids, found)


def test_perception_is_the_label_of_a_call_and_the_text_between_tags(model):
    assert 'a red \\"square\\"' in spans_of(model, f"I look. {CALL}")
    assert "bbox" not in spans_of(model, f"I look. {CALL}") and "look" not in spans_of(model, f"I look. {CALL}")
    assert spans_of(model, f"I look. {CALL}", labels=False) == ""
    text = "<description> two dogs, é </description> so <answer> two </answer>"
    assert "two dogs, é" in spans_of(model, text) and "answer" not in spans_of(model, text)
    assert "two dogs" not in spans_of(model, text, tags=("answer",)) and "two" in spans_of(
        model, text, tags=("answer",)
    )
    assert spans_of(model, "<description> never closed") == ""


@pytest.mark.parametrize(
    ("text", "perception"),
    [
        ("<description>thus so <description>b</description>", "b"),
        ("<description>a<description>b</description>c</description>", "b"),
        ("<description>a</description> so <description>b</description>", "ab"),
        ("<tool_call>{'name': 'zoom', 'arguments': {'label': 'red', 'bbox_2d': [0]}}</tool_call>", "red"),
        ("<function=zoom>\n<parameter=label>\nred car\n</parameter>\n</function>", "red car"),
        ('{"label" : "it\'s red", "img_idx": 0}', "it's red"),
    ],
)
def test_perception_is_found_where_the_agent_loop_finds_it(model, text, perception):
    """As in :func:`read_descriptions` and :mod:`dialects`; a token at an end may have a character of a tag, too."""
    found = re.sub("[<>]", "", spans_of(model, text))
    assert found.replace("description", "").strip(" \n\"'/") == perception


def test_id_behind_the_vocabulary_has_no_token_and_ends_a_perception(model):
    encode, spans = model.tokenizer.encode, PerceptionSpans(model.tokenizer, True, ["description"])
    ids = torch.tensor([*encode("<description> a"), len(model.tokenizer) + 7, *encode(" b</description>")])
    assert not spans.of(ids, torch.ones_like(ids)).any()


def test_perception_does_not_reach_over_tokens_that_the_policy_did_not_write(model):
    encode = model.tokenizer.encode
    parts = ["<description> a dog", " seen", " </description> x", "<description> b </description>"]
    ids = [encode(part, add_special_tokens=False) for part in parts]
    mask = torch.tensor([int(number != 1) for number, part in enumerate(ids) for _ in part])
    ids = torch.tensor(sum(ids, []))
    found = PerceptionSpans(model.tokenizer, True, ["description"]).of(ids, mask)
    assert text_of(model.tokenizer, ids, found).strip(" <>") == "b"


def test_factor_by_hand():
    """u = 0, 0.5, 1 with mean 0.5 and a = 0.5: factors 0.75, 1 and 1.25."""
    signal, role = scores_of([[1.0, 2.0, 3.0, NAN], [5, 5, NAN, NAN], [NAN] * 4])
    found = role_factor(signal, role).tolist()
    assert found[0] == pytest.approx([0.75, 1, 1.25, 1]) and found[1] == found[2] == [1] * 4


@given(score_rows, st.sampled_from([0.0, 0.5, 0.9]))
def test_factor_equals_that_of_a_loop_is_positive_and_has_mean_1(rows, strength):
    signal, role = scores_of(rows)
    found = role_factor(signal, role, strength)
    for row, at, factors in zip(rows, role, found, strict=True):
        values = [value for value in row if not math.isnan(value)]
        low, high = (min(values), max(values)) if values else (0, 0)
        shares = [(value - low) / (high - low) if high > low else 0.0 for value in values]
        expected = [1 + strength * (share - sum(shares) / len(shares)) for share in shares]
        assert factors[at].tolist() == pytest.approx(expected, abs=1e-6)
        assert (factors > 0).all() and (factors[~at] == 1).all()
        assert not at.any() or factors[at].mean().item() == pytest.approx(1, abs=1e-6)


def test_label_that_is_not_closed_ends_where_the_environment_writes(model):
    encode = model.tokenizer.encode
    parts = ['{"label": "a dog', " not JSON", ' sorry" {"label": "b"}']
    ids = [encode(part, add_special_tokens=False) for part in parts]
    mask = torch.tensor([int(number != 1) for number, part in enumerate(ids) for _ in part])
    ids = torch.tensor(sum(ids, []))
    found = PerceptionSpans(model.tokenizer, True, []).of(ids, mask)
    assert "b" in (text := text_of(model.tokenizer, ids, found)) and not {"d", "s", "N"} & set(text)


def test_reasoning_before_the_perception_has_no_support_whatever_the_rounding_of_the_passes():
    support, written = torch.tensor([[0.0, 1e-3, 0.0, 2.0], [1e-3, 0.0, 5.0, 3.0]]), torch.zeros(2, 4).bool()
    written[0, 3] = written[1, 1] = True
    found = srpo_factors(torch.full_like(support, NAN), support, written, torch.ones_like(written))
    assert found.factor[0].tolist() == [1] * 4, "the perception ends the response"
    u = torch.tensor([0, 1, 0.6])
    assert found.factor[1, [0, 2, 3]].tolist() == pytest.approx((1 + 0.5 * (u - u.mean())).tolist())


def step_of_roles(queue, make_trainer, *overrides):
    """Rows of one or two perception tokens, then reasoning; the second row has no image, the third no perception."""
    fields = viewed_fields([[0.0, -2.0, 1.0, 1.0], [NAN] * 4, [0.0, 1.0, 2.0, 3.0]])
    fields |= viewed_fields([[NAN, NAN, -1.0, 3.0], [NAN, -2.0, -1.0, 3.0], [NAN] * 4], column=UNSEEN_LOG_PROBS)
    fields[PERCEPTION.name] = jagged([torch.tensor(row) for row in ([1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0])])
    make = lambda method: make_trainer(method, *overrides)  # noqa: E731
    return step_of(queue, make, "method=srpo", [1.0, 0.0, 0.0], [0, 0, 0], length=4, **fields)


def test_step_of_the_trainer_multiplies_grpos_advantage_by_the_factors_of_both_roles(queue, make_trainer):
    _, metrics = step_of_roles(queue, make_trainer)
    found = torch.stack(queue.fields["advantages"].unbind())
    high, low = 2 / math.sqrt(3), -1 / math.sqrt(3)
    # perception: k3(0) < k3(-2); reasoning: the text makes its first token e times as likely, the second unlikelier
    assert found[0].tolist() == pytest.approx([high * f for f in (0.75, 1.25, 1.25, 0.75)], abs=1e-5)
    # supports 2, 1 and -3, which counts as 0
    assert found[1].tolist() == pytest.approx([low * f for f in (1, 1.25, 1, 0.75)], abs=1e-5)
    assert found[2].tolist() == pytest.approx([low] * 4, abs=1e-5)
    assert metrics["srpo/dependency/mean"] == pytest.approx((k3(0) + k3(-2)) / 2)
    assert metrics["srpo/support/mean"] == pytest.approx((1 + 0 + 2 + 1 + 0) / 5)
    assert metrics["srpo/perception_share"] == pytest.approx(2 / 12)
    assert (metrics["srpo/factor/min"], metrics["srpo/factor/max"]) == (0.75, 1.25)


def test_reasoning_can_be_left_out_with_its_pass(queue, make_trainer, model):
    _, metrics = step_of_roles(queue, make_trainer, "algorithm.srpo.reasoning=false")
    found = torch.stack(queue.fields["advantages"].unbind())
    assert found[1].unique().numel() == 1 and "srpo/support/mean" not in metrics
    for reasoning, columns in ((True, ["changed_log_probs", "unseen_log_probs"]), (False, ["changed_log_probs"])):
        method = Srpo(compose_config("method=srpo", f"algorithm.srpo.reasoning={reasoning}"))
        method.check_model(model.tokenizer, model.processor)
        assert list(method.log_prob_request()[VIEWS]) == columns


def test_trainer_writes_the_perception_before_the_pass(queue, make_trainer, model, monkeypatch):
    ids = [torch.tensor(model.tokenizer.encode(text)) for text in (f"I look. {CALL}", "no call")]
    queue.fields |= {"responses": jagged(ids), "response_mask": jagged([torch.ones_like(row) for row in ids])}
    trainer = make_trainer("method=srpo")
    for method in trainer.methods:
        method.check_model(model.tokenizer, model.processor)
    seen = []

    def stock(self, batch, metrics):
        seen.extend(queue.fields[PERCEPTION.name].unbind())
        return batch

    monkeypatch.setattr(PPOTrainer, "_compute_old_log_prob", stock)
    batch = queue.batch(["a_0_0", "a_1_0"], prompt_len=[1, 1])
    batch.extra_info["temperature"] = 1.0
    after = trainer._compute_old_log_prob(batch, {})
    assert "red" in text_of(model.tokenizer, ids[0], seen[0]) and not seen[1].any()
    assert after.extra_info == {"temperature": 1.0}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["algorithm.srpo.labels=false", "algorithm.srpo.tags=[]"], "leaves no perception in any row"),
        (["algorithm.srpo.tags=['<a>']"], "tags"),
        (["algorithm.srpo.strength=1"], "strength"),
    ],
)
def test_setting_that_leaves_no_reconstruction_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        Srpo(compose_config("method=srpo", *overrides)).check()
