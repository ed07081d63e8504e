# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PEPO: by hand, against a loop over tokens, inside verl's own log-prob pass, and in a step of the trainer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fake_queue import jagged
from support.passes import log_prob_pass, rows_of, tiny_engine
from support.scripted import compose_config
from support.tool_credit import step_of

from verl_mapo.columns import VISUAL_FOCUS
from verl_mapo.relatives.pepo import OPTIMIZER_STEPS, Pepo, pepo_factor
from verl_mapo.settings import ConfigError

NAN = float("nan")


def factor_of(cosine, entropy, progress=1.0, at=None, **settings):
    cosine, entropy = torch.tensor([cosine]), torch.tensor([entropy])
    at = ~cosine.isnan() if at is None else torch.tensor([at])
    return pepo_factor(cosine, entropy, at, progress, **settings)[0].tolist()


def by_loop(cosine, entropy, progress, gain=0.05, temperature=1.8):
    """Eq. 2 to 5 in plain Python; NaN is a token without a score."""
    places = [t for t, value in enumerate(cosine) if not math.isnan(value)]

    def minmax(values):
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 0.0 for value in values]

    found = [1.0] * len(cosine)
    if not places:
        return found
    v = [cosine[t] for t in places]
    m = [a + b for a, b in zip(minmax(v), minmax([entropy[t] for t in places]), strict=True)]
    mean = sum(m) / len(m)
    exponents = [math.exp(a * (1 + gain * math.tanh(b - mean)) / temperature) for a, b in zip(v, m, strict=True)]
    for t, value in zip(places, exponents, strict=True):
        found[t] = 1 - progress + progress * len(places) * value / sum(exponents)
    return found


def test_factor_by_hand():
    """m = 0 + 0 and 1 + 1, mean 1: g = 1 -+ 0.05 tanh 1; the second token has the higher score."""
    low, high = 0.2 * (1 - 0.05 * math.tanh(1)) / 1.8, 0.8 * (1 + 0.05 * math.tanh(1)) / 1.8
    weight = 2 / (1 + math.exp(low - high))
    assert factor_of([0.2, 0.8], [0.1, 0.5]) == pytest.approx([2 - weight, weight], abs=1e-6)
    assert factor_of([0.2, 0.8], [0.1, 0.5], 0.25) == pytest.approx(
        [1 - (weight - 1) / 4, 1 + (weight - 1) / 4], abs=1e-6
    )
    assert factor_of([0.2, 0.8], [0.1, 0.5], 0.0) == [1, 1], "nothing happens at the start of the schedule"


def test_entropy_matters_among_tokens_that_look_alike():
    uncertain_first = factor_of([0.5, 0.5, 0.5], [2.0, 1.0, 0.0], gain=0.5)
    assert uncertain_first == sorted(uncertain_first, reverse=True) and uncertain_first[0] > 1 > uncertain_first[2]
    assert factor_of([0.5, 0.5], [1.0, 1.0]) == [1, 1]


def test_entropies_below_the_smallest_normal_number_leave_finite_factors():
    assert factor_of([0.2, 0.2], [0.0, 1e-42]) == pytest.approx([1, 1], abs=1e-3)


def test_token_without_a_score_has_factor_1_and_counts_nowhere():
    assert factor_of([NAN, 0.2, NAN, 0.8], [9.0, 0.1, NAN, 0.5])[1::2] == factor_of([0.2, 0.8], [0.1, 0.5])
    assert factor_of([NAN, 0.2, NAN], [9.0, 0.1, NAN]) == [1, 1, 1]
    assert factor_of([NAN, NAN], [NAN, NAN]) == [1, 1]


cosines = st.one_of(st.just(NAN), st.integers(-16, 16).map(lambda n: n / 16))
tokens = st.lists(st.tuples(cosines, st.integers(0, 32).map(lambda n: n / 8)), min_size=1, max_size=12)


@given(tokens, st.sampled_from([0.0, 0.3, 1.0]))
def test_factor_equals_that_of_a_loop_and_has_mean_1(row, progress):
    cosine, entropy = map(list, zip(*row, strict=True))
    found = factor_of(cosine, entropy, progress)
    assert found == pytest.approx(by_loop(cosine, entropy, progress), abs=1e-5)
    scored = [value for value, v in zip(found, cosine, strict=True) if not math.isnan(v)]
    assert not scored or sum(scored) / len(scored) == pytest.approx(1, abs=1e-5)


@given(st.lists(tokens, min_size=2, max_size=4))
def test_factors_of_a_row_depend_on_that_row_alone(rows):
    width = max(map(len, rows))
    padded = [[*row, *[(NAN, NAN)] * (width - len(row))] for row in rows]
    cosine = torch.tensor([[v for v, _ in row] for row in padded])
    entropy = torch.tensor([[h for _, h in row] for row in padded])
    together = pepo_factor(cosine, entropy, ~cosine.isnan(), 0.7)
    for row, alone in zip(together, rows, strict=True):
        assert row[: len(alone)].tolist() == pytest.approx(
            factor_of(*map(list, zip(*alone, strict=True)), 0.7), abs=1e-6
        )


def test_scores_are_mean_cosines_over_layers_and_image_tokens_of_verls_pass(tiny_models, picture, monkeypatch):
    model = tiny_models["qwen2_5_vl"]
    engine, image = tiny_engine(model.folder, monkeypatch), model.processor.image_token_id
    rows = rows_of(engine.module, model, picture)[:2]
    method = Pepo(compose_config("method=pepo", f"actor_rollout_ref.model.path={model.folder}"))
    method.check_model(model.tokenizer, model.processor)
    assert method.layers == list(range(len(engine.module.get_decoder().layers))) and len(method.layers) > 1
    asked = log_prob_pass(engine, rows, method.log_prob_request()[VISUAL_FOCUS.name])[VISUAL_FOCUS.name].unbind()
    for row, scores in zip(rows, asked, strict=True):
        expected = slow_scores(engine, row, image)
        assert {place + 1 for place in (~scores.isnan()).nonzero().flatten().tolist()} == set(expected)
        assert all(
            2 * scores[token - 1].item() - 1 == pytest.approx(value, abs=1e-5) for token, value in expected.items()
        )


def slow_scores(engine, row, image):
    """Eq. 1, a token and an image token at a time, from the outputs of the decoder layers."""
    states = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: states.append((out[0] if isinstance(out, tuple) else out)[0]))
        for layer in engine.module.get_decoder().layers
    ]
    with torch.no_grad():
        engine.module.model(
            input_ids=row["input_ids"][None], position_ids=row["position_ids"][:, None], **row["multi_modal_inputs"]
        )
    for hook in hooks:
        hook.remove()
    ids, begin, found = row["input_ids"].tolist(), len(row["input_ids"]) - len(row["response_mask"]), {}
    for token in range(begin, len(ids)):
        if row["response_mask"][token - begin]:
            seen = [place for place in range(token) if ids[place] == image]
            cosines = [torch.cosine_similarity(layer[token][None], layer[seen]).mean() for layer in states]
            found[token] = torch.stack(cosines).mean().item()
    return found


def test_step_of_the_trainer_multiplies_grpos_advantage(queue, make_trainer):
    cosine, entropy = [[0.2, 0.8, 0.5], [0.9, NAN, 0.1]], [[0.1, 0.5, 0.2], [0.3, 0.1, 0.9]]
    fields = {
        # one prompt token: a score lies one place before its token
        VISUAL_FOCUS.name: jagged([torch.tensor([*[(v + 1) / 2 for v in row], NAN]) for row in cosine]),
        "entropy": jagged([torch.tensor(row) for row in entropy]),
    }
    trainer, metrics = step_of(
        queue,
        lambda method: make_trainer(method, "algorithm.pepo.schedule_steps=10"),
        "method=pepo",
        [1.0, 0.0],
        [0, 0],
        **fields,
    )
    found = torch.stack(queue.fields["advantages"].unbind())
    for row, base in ((0, math.sqrt(0.5)), (1, -math.sqrt(0.5))):
        expected = [base * factor for factor in by_loop(cosine[row], entropy[row], 0.7)]
        assert found[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert metrics["pepo/progress"] == 0.7 and metrics["pepo/factor/mean"] == pytest.approx(1, abs=1e-6)
    assert metrics["pepo/cosine/mean"] == pytest.approx(0.5)
    assert metrics["pepo/factor/min"] < 1 < metrics["pepo/factor/max"]


@pytest.mark.parametrize(
    ("overrides", "progress"),
    [
        (["algorithm.pepo.schedule_steps=4"], [0.25, 0.5, 1, 1]),
        (["trainer.total_training_steps=2"], [0.5, 1, 1, 1]),
        ([f"{OPTIMIZER_STEPS}=8"], [0.125, 0.25, 0.5, 1]),
    ],
)
def test_schedule_goes_over_the_given_steps_or_those_of_the_run(overrides, progress):
    method = Pepo(compose_config("method=pepo", *overrides))
    assert [method.progress(step) for step in (1, 2, 4, 8)] == progress


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["algorithm.visual_credit.enable=true"], "second factor from the same scores: set it to false"),
        (["algorithm.rollout_correction.bypass_mode=true"], "leaves out the log-prob pass"),
        (["trainer.v1.trainer_mode=separate_async"], "schedule_steps=null is refused with"),
    ],
)
def test_run_without_scores_or_with_other_ones_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        Pepo(compose_config("method=pepo", *overrides)).check()


def test_layer_that_the_model_lacks_is_refused(tiny_models):
    model = tiny_models["qwen2_5_vl"]
    path = f"actor_rollout_ref.model.path={model.folder}"
    with pytest.raises(ConfigError, match=r"layers=\[0, 99\], but .* decoder layers: give numbers from 0 to"):
        Pepo(compose_config("method=pepo", path, "algorithm.pepo.layers=[0,99]")).check_model(None, model.processor)
