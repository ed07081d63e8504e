# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Visual credit in the trainer: factors on any advantage, the model checks, and the metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.fake_queue import FakeQueue, jagged
from transformers import AutoConfig
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from verl_mapo.advantages.axpo import AxpoSettings, axpo_groups
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.visual_credit import BOUNDS, VisualCreditSettings, visual_factors
from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE, VISUAL_FOCUS
from verl_mapo.settings import ConfigError
from verl_mapo.training.step_batch import StepBatch
from verl_mapo.training.visual_credit import VisualCredit, check_layer, credit_metrics, visual_token_ids

PROMPT = 2
NAN = float("nan")


def put_rows(queue: FakeQueue, masks: list[list[int]], scores: list[list[float]], advantages: list[float]) -> None:
    """Rows as the log-prob pass and the estimator leave them; scores lie one place before their tokens."""
    policies = [torch.tensor(mask) for mask in masks]
    queue.fields["response_mask"] = jagged(policies)
    queue.fields["rm_scores"] = jagged([torch.zeros(len(mask)) for mask in masks])
    queue.fields["extra_fields"] = [{}] * len(masks)
    pad = [NAN]
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.tensor([*pad * (PROMPT - 1), *row, *pad]) for row in scores])
    queue.fields["advantages"] = jagged([mask * value for mask, value in zip(policies, advantages, strict=True)])


def fetch(queue: FakeQueue, keys: list[str]) -> StepBatch:
    step = StepBatch.fetch(queue.batch(keys), number=1, columns=VisualCredit.columns)
    step.expect_estimate(step.batch)
    return step


def make_method(make_trainer, *overrides: str) -> VisualCredit:
    return make_trainer("method=vgpo", *overrides).methods[0]


def test_advantages_are_multiplied_except_in_rows_without_images(queue, make_trainer):
    put_rows(queue, [[1, 1, 1, 1], [1, 1], [1, 1, 1]], [[0.2, 0.4, 0.6, 0.8], [0.5, 0.9], [NAN] * 3], [1.0, -1.0, 2.0])
    step, method = fetch(queue, ["a_0_0", "a_1_0", "b_0_0"]), make_method(make_trainer)
    method.after_advantage(step)
    first, second, text = queue.fields["advantages"].unbind()
    score = torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.5, 0.9, NAN, NAN], [NAN] * 4])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    factors = visual_factors(score, ~score.isnan(), mask, torch.tensor([0, 0, 1]), VisualCreditSettings())
    factor = factors.token * factors.trajectory.unsqueeze(1)
    assert torch.allclose(first, factor[0]) and torch.allclose(second, -factor[1, :2])
    assert text.tolist() == [2.0, 2.0, 2.0]
    metrics = method.metrics(step)
    assert metrics["visual_credit/visual_rows"] == pytest.approx(2 / 3)
    assert metrics["visual_credit/token_factor/mean"] == pytest.approx(1, abs=1e-5)


def test_source_is_scored_by_all_its_tokens_and_continuations_among_themselves(queue, make_trainer):
    """The loss acts on a source's prefix alone; its trajectory score counts every token that it wrote."""
    scores = [[0.1] * 4, [0.2] * 4, [0.2, 0.2, 0.2], [0.2, 0.6, 0.6]]  # of its prefix alone, 0.2: below the first row's
    put_rows(queue, [[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1], [0, 1, 1]], scores, [1.0] * 4)
    step = fetch(queue, [f"a_{number}_0" for number in range(4)])
    role, prefix_id = torch.tensor([PLAIN, SOURCE, CONTINUATION, CONTINUATION]), torch.tensor([-1, 1, 1, 1])
    step.continuation = role == CONTINUATION
    step.comparison_group = axpo_groups(step.group, role, prefix_id, AxpoSettings())
    step.loss_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    make_method(make_trainer, "algorithm.visual_credit.intra=false").after_advantage(step)
    plain, source, low, high = queue.fields["advantages"].unbind()
    assert plain.tolist() == [0.5] * 4 and source.tolist() == [1.5, 0, 0, 0], "min-max of two is 0 and 1, mean 1/2"
    assert low.tolist() == [0, 0.5, 0.5] and high.tolist() == [0, 1.5, 1.5]


def test_engine_without_focus_stops_the_run_with_a_sentence(queue, make_trainer):
    put_rows(queue, [[1]], [[0.5]], [1.0])
    del queue.fields[VISUAL_FOCUS.name]
    with pytest.raises(ConfigError, match="The log-prob pass gave no visual focus"):
        make_method(make_trainer).after_advantage(fetch(queue, ["a_0_0"]))


def test_advantage_of_vgpo_before_the_factors_is_verls_grpo(queue, make_trainer):
    put_rows(queue, [[1, 1, 1]] * 4, [[0.5] * 3] * 4, [0.0] * 4)
    rewards, mask = torch.eye(4)[:, :3], torch.ones(4, 3)
    queue.fields["rm_scores"] = jagged([*rewards])
    step = fetch(queue, ["a_0_0", "a_1_0", "b_0_0", "b_1_0"])
    for by_std in (True, False):
        method = make_method(make_trainer, f"algorithm.norm_adv_by_std_in_grpo={by_std}")
        grpo, _ = compute_grpo_outcome_advantage(rewards, mask, np.array(list("aabb")), norm_adv_by_std_in_grpo=by_std)
        assert torch.allclose(method.advantages(step, rewards, mask), grpo, atol=1e-5)
    assert step.group.tolist() == group_ids(list("aabb")).tolist()


def test_advantage_of_vgpo_is_only_centred_without_division_by_std(queue, make_trainer):
    put_rows(queue, [[1, 1, 1]] * 4, [[0.5] * 3] * 4, [0.0] * 4)
    rewards = torch.eye(4)[:, :3]
    queue.fields["rm_scores"] = jagged([*rewards])
    step = fetch(queue, ["a_0_0", "a_1_0", "b_0_0", "b_1_0"])
    method = make_method(make_trainer, "algorithm.norm_adv_by_std_in_grpo=false")
    advantages = method.advantages(step, rewards, torch.ones(4, 3))
    assert advantages[:, 0].tolist() == [0, 0, 0.5, -0.5], "outcomes 1, 1 and 1, 0"


def test_late_over_early_is_below_one_if_focus_falls():
    score = torch.tensor([[0.8, 0.8, 0.4, 0.4], [0.6, 0.3, float("nan"), float("nan")]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    config = VisualCreditSettings(clamp="official")
    factors = visual_factors(score, ~score.isnan(), mask, torch.tensor([0, 0]), config)
    metrics = credit_metrics(score, mask, factors, config)
    assert metrics["visual_credit/late_over_early"] == pytest.approx((1.1 / 3) / (2.2 / 3))
    assert metrics["visual_credit/cosine/min"] == pytest.approx(-0.4)
    assert metrics["visual_credit/cosine/negative_share"] == pytest.approx(0.5)
    assert metrics["visual_credit/length_correlation"] == pytest.approx(1)
    assert metrics["visual_credit/at_bounds/trajectory"] == 0.5, "1 - 0.5 is cut to 0.9"


def test_late_over_early_is_left_out_if_the_first_halves_have_no_focus():
    score, mask = torch.tensor([[0.0, 0.0, 0.4, 0.4]]), torch.ones(1, 4)
    config = VisualCreditSettings()
    metrics = credit_metrics(score, mask, visual_factors(score, score >= 0, mask, torch.tensor([0]), config), config)
    assert "visual_credit/late_over_early" not in metrics and metrics["visual_credit/cosine/min"] == -1


def plain_metrics(score, mask, factors, config):
    """The metrics of tokens as docs and docstring define them, over the whole batch at once."""
    policy = mask.bool()
    scored = policy & ~score.isnan()
    cosine, token, length = 2 * score[scored].double() - 1, factors.token[scored].double(), policy.sum(dim=1)
    late = policy.cumsum(dim=1) > length.unsqueeze(1) / 2
    bounds = BOUNDS.get(config.clamp, ([],))[0]
    metrics = {
        "cosine/mean": cosine.mean(),
        "cosine/min": cosine.min(),
        "cosine/negative_share": (cosine < 0).double().mean(),
        "late_over_early": score[scored & late].mean() / score[scored & ~late].mean(),
        "gate_rate": (factors.gate & scored).sum() / scored.sum(),
        "token_factor/min": token.min(),
        "token_factor/max": token.max(),
        "token_factor/mean": token.mean(),
        "at_bounds/token": torch.isin(factors.token[scored], torch.tensor(bounds)).double().mean(),
    }
    return {f"visual_credit/{name}": float(value) for name, value in metrics.items() if not value.isnan()}


@pytest.mark.parametrize("clamp", ["none", "official", "symmetric"])
@pytest.mark.parametrize("chunk", [1, 24, 2**17])
def test_metrics_are_those_of_the_whole_batch_however_it_is_cut(monkeypatch, clamp, chunk):
    monkeypatch.setattr("verl_mapo.training.visual_credit.CHUNK", chunk)
    numbers = torch.Generator().manual_seed(0)
    score = torch.rand(9, 12, generator=numbers).masked_fill(torch.rand(9, 12, generator=numbers) < 0.2, float("nan"))
    score[3] = float("nan")
    mask = (torch.rand(9, 12, generator=numbers) < 0.7).long()
    mask[5] = 0
    config = VisualCreditSettings(clamp=clamp, beta=9.0)
    factors = visual_factors(score, ~score.isnan(), mask, torch.arange(9) // 3, config)
    found = credit_metrics(score, mask, factors, config)
    expected = plain_metrics(score, mask, factors, config)
    if clamp == "none":
        del expected["visual_credit/at_bounds/token"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["visual_credit/visual_rows"] == pytest.approx(7 / 8)


def test_metrics_are_empty_without_a_score():
    score, mask = torch.full((2, 3), float("nan")), torch.ones(2, 3)
    config = VisualCreditSettings()
    factors = visual_factors(score, ~score.isnan(), mask, torch.tensor([0, 0]), config)
    assert credit_metrics(score, mask, factors, config) == {}


def test_placeholders_of_images_and_videos_are_found_and_a_text_model_is_refused(model):
    ids = visual_token_ids(model.processor, "a/model")
    assert [model.tokenizer.decode([token]) for token in ids] == ["<|image_pad|>", "<|video_pad|>"]
    with pytest.raises(ConfigError, match="actor_rollout_ref.model.path=a/model has no image tokens"):
        visual_token_ids(None, "a/model")


def test_layer_that_the_model_lacks_is_refused(model):
    check_layer(-1, "not/read")
    check_layer(0, str(model.folder))
    layers = AutoConfig.from_pretrained(model.folder).text_config.num_hidden_layers
    check_layer(layers - 1, str(model.folder))
    for layer in (layers, 99):
        words = f"algorithm.visual_credit.layer={layer}, but .* has {layers} decoder layers: .* at most {layers - 1}"
        with pytest.raises(ConfigError, match=words):
            check_layer(layer, str(model.folder))
