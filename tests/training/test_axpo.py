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
"""Explored batches: what the loss acts on and is divided by, and how many optimizer steps they make."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import transfer_queue as tq
from ranks import token_weights
from scripted import compose_config
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import PPOTrainer

from verl_mapo.advantages.axpo import AxpoSettings, loss_masks
from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE
from verl_mapo.training.axpo import AxpoTrainer
from verl_mapo.training.trainer import VisualTrainer

N, PROMPTS, MINI, LENGTH = 4, 8, 2, 6


def explored_rows(resampled: int, ranks: int) -> dict[str, torch.Tensor]:
    """A step of 8 prompts x 4 rollouts with so many resampled prefixes of 4, padded for the ranks."""
    generator = torch.Generator().manual_seed(7)
    role = torch.tensor([PLAIN] * (N * PROMPTS) + [CONTINUATION] * (4 * resampled), dtype=torch.int8)
    role[: N * resampled : N] = SOURCE
    length = torch.where(role == PLAIN, 0, 2)
    mask = (torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (len(role), 1), generator=generator)).long()
    mask[role == CONTINUATION, :2] = 0
    padding = -len(role) % (ranks * PROMPTS // MINI)
    live = torch.cat([torch.ones(len(role), dtype=torch.bool), torch.zeros(padding, dtype=torch.bool)])
    role, length = (torch.cat([column, column[:1].expand(padding)]) for column in (role, length))
    mask = torch.cat([mask, torch.zeros(padding, LENGTH, dtype=torch.long)])
    acted_on, divided_by = loss_masks(mask, torch.zeros_like(live), role, length, AxpoSettings())
    masks = {"original": mask, "response_mask": acted_on, "loss_mask": divided_by}
    return {"role": role, "live": live, "originals": N * PROMPTS, **masks}


def update(rows: dict[str, torch.Tensor], ranks: int, mode: str, out) -> tuple[torch.Tensor, int]:
    torch.multiprocessing.spawn(token_weights, (ranks, rows, PROMPTS // MINI, mode, str(out)), nprocs=ranks)
    return torch.load(out / f"weights-{ranks}.pt")


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-sum"])
def test_two_ranks_take_the_steps_of_the_prompts_and_every_plain_token_keeps_its_weight(tmp_path, mode):
    rows = explored_rows(resampled=3, ranks=2)
    assert (~rows["live"]).sum() == 4, "44 rows, padded to a multiple of 2 ranks x 4 steps"
    weights, steps = update(rows, 2, mode, tmp_path)
    assert steps == PROMPTS // MINI, "resamples and padding make no step of their own"
    assert weights[~rows["live"]].abs().sum() == 0
    assert torch.equal(weights != 0, rows["response_mask"] != 0), "masked out of the loss, not merely advantage 0"
    plain, resample = rows["role"] == PLAIN, rows["role"] == CONTINUATION
    tokens = weights[plain & rows["live"]][rows["response_mask"][plain & rows["live"]] != 0]
    if mode == "token-mean":
        original = rows["original"][(rows["role"] != CONTINUATION) & rows["live"]].sum()
        assert tokens.mean().item() == pytest.approx(steps / original.item(), rel=0.05), "1 / tokens of the originals"
    else:
        assert torch.allclose(tokens, torch.tensor(1 / (MINI * N)))
    assert (weights[resample] != 0).any()


def test_without_resamples_the_weights_are_verls_own(tmp_path):
    rows = explored_rows(resampled=0, ranks=1)
    assert torch.equal(rows["response_mask"], rows["loss_mask"]) and rows["live"].all()
    assert torch.equal(rows["response_mask"], rows["original"] != 0)


class Stock(PPOTrainer):
    """What AxpoTrainer calls of verl's trainer, less the work."""

    def _get_required_batch_multiple(self, dp_size):
        return 64

    def _balance_batch(self, batch, metrics, **_):
        return batch

    def _update_actor(self, batch, metrics):
        batch.extra_info.update(mini_batch_size=16, global_batch_size=16)
        return self.actor_rollout_wg.update_actor(batch)


class Trainer(AxpoTrainer, Stock):
    on_step_end = on_sample_end = None


def trainer_of(estimator: str, *overrides: str, **fields) -> Trainer:
    trainer = Trainer.__new__(Trainer)
    trainer.config = compose_config(
        "method=axpo",
        f"algorithm.adv_estimator={estimator}",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={MINI}",
        *overrides,
    )
    trainer.use_reference_policy = False
    trainer.axpo, trainer.parameter_sync_step = AxpoSettings() if estimator == "axpo" else None, 1
    trainer.__dict__.update(fields)
    return trainer


def test_a_batch_is_padded_for_its_ranks_and_steps_and_no_further():
    tokens = ["actor_rollout_ref.actor.use_dynamic_bsz=true", "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=true"]
    assert trainer_of("axpo", *tokens)._get_required_batch_multiple(2) == 8
    assert trainer_of("axpo", *tokens, parameter_sync_step=4)._get_required_batch_multiple(2) == 2
    assert trainer_of("mapo")._get_required_batch_multiple(2) == 64, "other estimators keep verl's rule"


def test_where_micro_batches_are_cut_by_rows_they_come_out_even():
    micro = [
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=6",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=5",
    ]
    assert trainer_of("axpo", *micro)._get_required_batch_multiple(2) == 2 * 24, "4 steps x 2, and 6"
    assert trainer_of("axpo", *micro, use_reference_policy=True)._get_required_batch_multiple(2) == 2 * 120


def test_the_update_is_cut_by_number_and_the_workers_are_left_as_they_were():
    seen = []
    workers = SimpleNamespace(update_actor=lambda batch: seen.append(dict(batch.extra_info)))
    before = workers.update_actor
    trainer_of("axpo", actor_rollout_wg=workers)._update_actor(KVBatchMeta(), {})
    trainer_of("mapo", actor_rollout_wg=workers)._update_actor(KVBatchMeta(), {})
    assert seen == [{"global_batch_size": 16, "num_mini_batch": 4}, {"global_batch_size": 16, "mini_batch_size": 16}]
    assert workers.update_actor is before


def test_masks_advantages_and_records_of_a_step_go_together(monkeypatch, tmp_path):
    """One prompt of two: a right guess, and a failed look of which one of two continuations comes out right."""
    nested = lambda rows: torch.nested.as_nested_tensor(rows, layout=torch.jagged)  # noqa: E731
    masks = [torch.ones(3), torch.ones(4), torch.tensor([0, 0, 1, 1.0]), torch.tensor([0, 0, 1.0])]
    outcomes = [1.0, 0.0, 1.0, 0.0]
    rewards = [
        torch.cat([torch.zeros(len(mask) - 1), torch.tensor([o])]) for mask, o in zip(masks, outcomes, strict=True)
    ]
    call = {"span": [0, 3], "text": "x", "status": "ok", "tool": "zoom"}
    extra = [
        {
            "trajectory": {"images": [], "image_sizes": [], "end_reason": "answer", "prefix": 0, "turns": turns},
            "reward_extra_info": {},
            "num_cached_tokens": 9,
        }
        for turns in ([], [call], [call], [call])
    ]
    store = {
        "response_mask": nested([mask.long() for mask in masks]),
        "rm_scores": nested(rewards),
        "old_log_probs": nested([torch.zeros(len(mask)) for mask in masks]),
        "uid": NonTensorStack(*"aaaa"),
        "extra_fields": NonTensorStack(*extra),
        "raw_prompt": NonTensorStack(*[[{"role": "user", "content": "q"}]] * 4),
        "reward_model": NonTensorStack(*[{"ground_truth": "x"}] * 4),
        "data_source": NonTensorStack(*"ssss"),
        "role": torch.tensor([PLAIN, SOURCE, CONTINUATION, CONTINUATION], dtype=torch.int8),
        "prefix_length": torch.tensor([0, 2, 2, 2]),
        "prefix_id": torch.tensor([-1, 1, 1, 1]),
        "confidence": torch.tensor([float("nan"), 0.4, float("nan"), float("nan")]),
        "lost": torch.zeros(4, dtype=torch.int64),
        "explore_seconds": torch.full((4,), 2.0),
    }  # fmt: skip
    keys = [f"a_{number}_0" for number in range(4)]
    tags = [{"prompt_len": 10, "response_len": len(mask)} for mask in masks]

    def put(keys, partition_id, fields):
        store.update({name: fields[name] for name in fields.keys()})
        return KVBatchMeta(partition_id=partition_id, keys=keys, tags=tags)

    monkeypatch.setattr(
        tq, "kv_batch_get", lambda keys, partition_id, select_fields: TensorDict(
            {name: store[name] for name in select_fields if name in store}, batch_size=len(keys)
        )
    )  # fmt: skip
    monkeypatch.setattr(tq, "kv_batch_put", put)
    trainer = VisualTrainer.__new__(type("T", (VisualTrainer,), {"on_step_end": None, "on_sample_end": None}))
    trainer.config = compose_config(
        "method=axpo", "algorithm.axpo.continuations=2", f"trainer.rollout_data_dir={tmp_path}"
    )
    trainer.axpo, trainer.credit, trainer.tokenizer = AxpoSettings(continuations=2), None, None
    trainer.global_steps, trainer.records = 3, []
    metrics: dict = {}
    trainer._compute_advantage(KVBatchMeta(partition_id="train", keys=keys, tags=tags), metrics)

    assert [mask.tolist() for mask in store["response_mask"].unbind()] == [
        [1] * 3,
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1],
    ]
    assert [mask.sum().item() for mask in store["loss_mask"].unbind()] == [3, 4, 0, 0]
    root = 0.5**0.5
    plain, source, right, wrong = (row.tolist() for row in store["advantages"].unbind())
    assert plain == pytest.approx([root] * 3, abs=1e-4)
    assert source == pytest.approx([0, 0, 0, 0], abs=1e-4), "with the source's 0 lifted, both of r~ are 1: no spread"
    assert right == pytest.approx([0, 0, root, root], abs=1e-4) and wrong == pytest.approx([0, 0, -root], abs=1e-4)
    expected = {
        "trigger_rate": 1,
        "recovery_rate": 1,
        "slots/used": 1,
        "lost": 0,
        "subgroup_size": 1,
        "extra_tokens": 3 / 7,
    }
    expected |= {"confidence/selected": 0.4, "seconds/max": 2, "cached_share": 18 / 24, "outcome/original": 0.5}
    for name, value in expected.items():
        assert metrics[f"axpo/{name}"] == pytest.approx(value), name
    assert metrics["rollout_visual/tool_rate"] == 0.5, "continuations use tools by construction and are not counted"
    assert [record["axpo"]["role"] for record in trainer.records] == ["plain", "source", "resample", "resample"]
    assert trainer.records[1]["axpo"]["recovered"] is True
