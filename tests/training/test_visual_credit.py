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
"""Visual credit in the trainer: asked for in one pass alone, applied to whatever advantage there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.v1 import PPOTrainer

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.advantages.visual_credit import VisualCreditSettings, visual_factors
from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE
from verl_mapo.settings import ConfigError
from verl_mapo.training.credit_metrics import credit_metrics
from verl_mapo.training.focus_engine import FOCUS
from verl_mapo.training.step_batch import carrying
from verl_mapo.training.trainer import VisualTrainer

PROMPT = 2


def jagged(rows):
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def trainer_of(credit: VisualCreditSettings | None, axpo: AxpoSettings | None = None) -> VisualTrainer:
    trainer = VisualTrainer.__new__(type("T", (VisualTrainer,), {"on_step_end": None, "on_sample_end": None}))
    trainer.credit, trainer.axpo, trainer.visual_token_ids = credit, axpo, [7, 8]
    return trainer


def batch_of(keys: list[str]) -> KVBatchMeta:
    return KVBatchMeta(partition_id="train", keys=keys, tags=[{}] * len(keys))


@pytest.fixture
def queue(monkeypatch):
    store: dict = {}

    def put(keys, partition_id, fields):
        store.update({name: fields[name] for name in fields.keys()})
        return batch_of(keys)

    def get(keys, partition_id, select_fields):
        return TensorDict({name: store[name] for name in select_fields if name in store}, batch_size=len(keys))

    monkeypatch.setattr(tq, "kv_batch_get", get)
    monkeypatch.setattr(tq, "kv_batch_put", put)
    return store


def write(queue: dict, masks: list[list[int]], scores: list[list[float]], advantages: list[float], loss=None) -> None:
    """Rows as the log-prob pass and the estimator leave them; scores lie one place before their tokens."""
    policies = [torch.tensor(mask) for mask in masks]
    queue["response_mask"] = jagged(policies)
    queue["loss_mask"] = jagged([torch.tensor(mask) for mask in loss]) if loss else queue["response_mask"]
    pad = [float("nan")]
    queue[FOCUS] = jagged([torch.tensor([*pad * (PROMPT - 1), *row, *pad]) for row in scores])
    queue["advantages"] = jagged([mask * value for mask, value in zip(policies, advantages, strict=True)])


def credit(queue: dict, trainer: VisualTrainer, keys: list[str], **columns: torch.Tensor) -> dict[str, float]:
    metrics: dict = {}
    with carrying(columns) as carrier:
        trainer._credit_looks(batch_of(keys), metrics)
    assert carrier.credit is not None
    return metrics


def test_the_advantage_is_multiplied_and_rows_without_images_keep_theirs(queue):
    nan = float("nan")
    write(queue, [[1, 1, 1, 1], [1, 1], [1, 1, 1]], [[0.2, 0.4, 0.6, 0.8], [0.5, 0.9], [nan] * 3], [1.0, -1.0, 2.0])
    metrics = credit(queue, trainer_of(VisualCreditSettings()), ["a_0_0", "a_1_0", "b_0_0"])
    first, second, text = queue["advantages"].unbind()
    score = torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.5, 0.9, nan, nan], [nan] * 4])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    factor = visual_factors(score, ~score.isnan(), mask, torch.tensor([0, 0, 1]), VisualCreditSettings()).factor
    assert torch.allclose(first, factor[0]) and torch.allclose(second, -factor[1, :2])
    assert text.tolist() == [2.0, 2.0, 2.0]
    assert metrics["visual_credit/visual_rows"] == pytest.approx(2 / 3)
    assert metrics["visual_credit/token_factor/mean"] == pytest.approx(1, abs=1e-5)


def test_a_source_is_scored_as_it_was_rolled_out_and_continuations_among_themselves(queue):
    """The loss has only a source's prefix; its trajectory score is of all it wrote."""
    masks = [[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1], [0, 1, 1]]
    loss = [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0], [0, 0, 0]]
    scores = [[0.1] * 4, [0.4] * 4, [0.2, 0.2, 0.2], [0.2, 0.6, 0.6]]
    write(queue, masks, scores, [1.0, 1.0, 1.0, 1.0], loss)
    role = torch.tensor([PLAIN, SOURCE, CONTINUATION, CONTINUATION], dtype=torch.int8)
    prefix = torch.tensor([-1, 1, 1, 1])
    trainer = trainer_of(VisualCreditSettings(intra=False), AxpoSettings())
    credit(queue, trainer, [f"a_{n}_0" for n in range(4)], role=role, prefix_id=prefix)
    plain, source, low, high = queue["advantages"].unbind()
    assert plain.tolist() == [0.5] * 4 and source.tolist() == [1.5, 0, 0, 0], "min-max of two is 0 and 1, mean 1/2"
    assert low.tolist() == [0, 0.5, 0.5] and high.tolist() == [0, 1.5, 1.5]


def test_the_scores_are_asked_for_in_the_log_prob_pass_and_nowhere_else(monkeypatch):
    seen = []

    def stock(self, batch, metrics):
        seen.append(dict(batch.extra_info))
        return batch

    monkeypatch.setattr(PPOTrainer, "_compute_old_log_prob", stock)
    batch = batch_of(["a_0_0"])
    trainer_of(VisualCreditSettings(prototype="latest", layer=2))._compute_old_log_prob(batch, {})
    assert seen[0][FOCUS] == {"visual_token_ids": [7, 8], "prototype": "latest", "position": "own", "layer": 2}
    assert FOCUS not in batch.extra_info
    trainer_of(None)._compute_old_log_prob(batch, {})
    assert FOCUS not in seen[1]


def test_an_engine_without_focus_stops_with_a_sentence(queue):
    write(queue, [[1]], [[0.5]], [1.0])
    del queue[FOCUS]
    with pytest.raises(ConfigError, match="The log-prob pass gave no visual focus"):
        trainer_of(VisualCreditSettings())._credit_looks(batch_of(["a_0_0"]), {})


def test_vgpo_is_verls_grpo_before_the_credit():
    rewards, mask = torch.eye(4)[:, :3], torch.ones(4, 3)
    index = np.array(list("aabb"))
    vgpo, _ = get_adv_estimator_fn("vgpo")(rewards, mask, index, config={})
    grpo, _ = get_adv_estimator_fn("grpo")(rewards, mask, index, config=None)
    assert torch.allclose(vgpo, grpo, atol=1e-5)


def test_forgetting_the_picture_shows_as_a_ratio_below_one():
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


def test_without_a_score_there_are_no_metrics():
    score, mask = torch.full((2, 3), float("nan")), torch.ones(2, 3)
    config = VisualCreditSettings()
    factors = visual_factors(score, ~score.isnan(), mask, torch.tensor([0, 0]), config)
    assert credit_metrics(score, mask, factors, config) == {}
