# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer: which class a run gets, the order of a step, and what a step reads, writes and logs."""

from __future__ import annotations

import gc
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from support.fake_queue import jagged, scored_rows
from support.scripted import compose_config
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import (
    PPOTrainer,
    PPOTrainerColocateAsync,
    PPOTrainerSeparateAsync,
    PPOTrainerSync,
    get_trainer_cls,
)
from verl.utils.dataset.rl_dataset import get_dataset_class

from verl_mapo.advantages.visual_credit import VisualCreditSettings, visual_factors
from verl_mapo.columns import CONTINUATION, PLAIN, ROLE, SOURCE, VISUAL_FOCUS
from verl_mapo.driver_threads import THREADS
from verl_mapo.names import AGENT_WORKERS
from verl_mapo.rollout.row_dataset import RowDataset
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError, select
from verl_mapo.tools.coordinates import View
from verl_mapo.training.mapo import Mapo
from verl_mapo.training.trainer import VisualTrainer, extend_all

MODES = {
    "sync": PPOTrainerSync,
    "colocate_async": PPOTrainerColocateAsync,
    "separate_async": PPOTrainerSeparateAsync,
}
LENGTHS = [5, 3, 4, 6]
ROOT = 0.5**0.5


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gets_the_visual_trainer_and_overrides_none_of_its_methods(mode, monkeypatch):
    monkeypatch.setattr(PPOTrainer, "__init__", lambda self, config: setattr(self, "config", config))
    monkeypatch.setattr(MODES[mode], "__init__", lambda self, config: PPOTrainer.__init__(self, config))
    modes = {"separate_async": ["+mode=separate_async", "trainer.v1.separate_async.parameter_sync_step=4"]}
    config = compose_config(*modes.get(mode, [f"trainer.v1.trainer_mode={mode}"]))
    trainer = get_trainer_cls(mode)(config=config)
    assert isinstance(trainer, VisualTrainer) and isinstance(trainer, MODES[mode])
    ours = ["_compute_advantage", "_validate", "_log_rollout_data", "_init_tokenizer", "_init_dataloader"]
    for method in (*ours, "_save_checkpoint", "on_step_begin", "_shutdown_dump_executor"):
        assert getattr(type(trainer), method) is getattr(VisualTrainer, method), f"{MODES[mode].__name__} overrides it"


@pytest.mark.parametrize("mode", MODES)
def test_stock_run_gets_verls_own_class(mode, monkeypatch):
    monkeypatch.setattr(MODES[mode], "__init__", lambda self, config: None)
    config = compose_config(
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
        "reward.reward_manager.name=naive",
    )
    assert type(get_trainer_cls(mode)(config=config)) is MODES[mode]


def test_verl_starts_with_the_threads_the_dataset_and_the_number_of_workers_of_this_package(monkeypatch):
    used, started = [], []

    def start(self, config):
        started.append((*used, get_dataset_class(config.data), select(config, AGENT_WORKERS)))

    monkeypatch.setenv(THREADS, "5")
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(PPOTrainerSync, "__init__", start)
    settings = ["trainer.n_gpus_per_node=8", "trainer.nnodes=1", "data.train_batch_size=64"]
    get_trainer_cls("sync")(config=compose_config(*settings))
    assert started == [(5, RowDataset, 32)]


def test_extending_twice_changes_nothing():
    before = [get_trainer_cls(mode) for mode in MODES]
    extend_all()
    assert [get_trainer_cls(mode) for mode in MODES] == before


def put_rows(queue, scores: list[float | None]) -> KVBatchMeta:
    """Two prompts of two rollouts, each with one visual turn, and a padding row."""
    lengths = [*LENGTHS, 1]
    masks = [torch.ones(length) for length in LENGTHS] + [torch.zeros(1)]
    trajectories = []
    for length, score in zip(lengths, scores, strict=True):
        view = View(0, (0, 0, 5, 5), 0, (5, 5))
        turn = Turn((0, length), "x", TurnStatus.OK, tool="zoom", described=True, score=score, view=view)
        trajectories.append(Trajectory(["p.png"], [(10, 10)], [turn], EndReason.ANSWER))
    columns = [trajectory.columns(3) for trajectory in trajectories]
    queue.fields.update(scored_rows(masks, [1.0, 0.0, 1.0, 1.0, 0.0], trajectories))
    queue.fields.update({name: torch.stack([column[name] for column in columns]) for name in columns[0]})
    queue.fields["uid"] = ["a", "a", "b", "b", "pad"]
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0", "pad_0_0"]
    return queue.batch(keys, is_padding=[False] * 4 + [True])


def test_columns_of_a_step_reach_advantages_metrics_and_records(queue, make_trainer, tmp_path):
    trainer, metrics = make_trainer(f"trainer.rollout_data_dir={tmp_path}"), {}
    trainer._compute_advantage(put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9]), metrics)
    a, b, c, d, pad = queue.fields["advantages"].unbind()
    assert a.tolist() == pytest.approx([ROOT + 0.4 * ROOT] * 5, abs=1e-4)
    assert b.tolist() == pytest.approx([-ROOT - 0.4 * ROOT] * 3, abs=1e-4)
    assert c.abs().max() < 1e-4 and d.abs().max() < 1e-4 and pad.tolist() == [0.0]
    assert metrics["mapo/outcome/mean"] == pytest.approx(0.75)
    assert metrics["mapo/alignment/mean"] == pytest.approx(0.2), "the padding row's score is not counted"
    assert metrics["mapo/std_floor/alignment_share"] == 0.5
    assert metrics["rollout_visual/crop_area"] == 0.25
    assert [record["uid"] for record in trainer.records] == ["a", "a", "b", "b"]
    assert trainer.records[0]["advantage"] == pytest.approx(ROOT * 1.4, abs=1e-4)
    assert all(record["credit"] is None and record["axpo"] is None for record in trainer.records)


@pytest.mark.parametrize(("recorded", "dumps"), [([True] * 4, 0), ([True, False, True, True], 1), ([], 0)])
def test_verl_dumps_texts_only_where_a_record_has_no_trajectory(make_trainer, monkeypatch, tmp_path, recorded, dumps):
    dumped, timing = [], {}
    monkeypatch.setattr(PPOTrainer, "_log_rollout_data", lambda *_: dumped.append(1))
    trainer = make_trainer(f"trainer.rollout_data_dir={tmp_path}")
    trainer.records = [{"trajectory": {"turns": []} if known else None} for known in recorded]
    trainer._log_rollout_data(None, timing, str(tmp_path))
    written = (tmp_path / "train" / "7.jsonl").read_text().splitlines()
    assert len(dumped) == dumps and len(written) == len(recorded) and trainer.records == []
    assert timing["dump_rollout_generations"] >= 0


def test_each_field_is_read_once_a_step(queue, make_trainer, tmp_path):
    """verl's estimator reads for itself; what it wrote is read back once."""
    verls = ["uid", "response_mask", "rm_scores", "old_log_probs"]
    trainer = make_trainer(f"trainer.rollout_data_dir={tmp_path}")
    trainer._compute_advantage(put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9]), {})
    first, back = [names for names in queue.reads if names != verls]
    assert len(queue.reads) == 3 and back == ["advantages", "response_mask"] and len(first) == len(set(first))


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("phase", ["_compute_old_log_prob", "_compute_advantage", "_compute_metrics"])
def test_collector_waits_while_verl_reads_the_rows_of_a_step(phase, failing, queue, make_trainer, monkeypatch):
    waiting = []

    def stock(self, batch, *_):
        waiting.append(not gc.isenabled())
        if failing:
            raise RuntimeError("the queue does not answer")
        return batch

    monkeypatch.setattr(PPOTrainer, phase, stock)
    trainer = make_trainer("algorithm.adv_estimator=grpo")
    trainer.finite_checks = SimpleNamespace(check_advantages=lambda *_: None)
    batch = put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9])
    queue.fields["advantages"] = queue.fields["rm_scores"]
    with pytest.raises(RuntimeError, match="does not answer") if failing else nullcontext():
        getattr(trainer, phase)(batch, {})
    assert waiting == [True] and gc.isenabled()


@pytest.mark.parametrize(
    ("columns", "most", "outcome"),
    [
        (["prompt"], 0.5, pytest.approx(2 / 6)),
        (["prompt"], 0.1, "^2 of 6 rollouts of step 7 are lost"),
        (["prompt", "__rollout_n__"], 0.1, None),
    ],
)
def test_lost_rollouts_of_a_step_are_counted_where_their_number_is_known_and_too_many_stop_the_run(
    queue, make_trainer, columns, most, outcome
):
    """Each of 2 prompts has 3 rollouts, unless its row says how many; 4 of them have come back."""

    class Steps(PPOTrainer):
        def _step_once(self, metrics, timing_raw, sample_batch_size):
            return self._compute_advantage(put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9]), metrics)

    overrides = ["actor_rollout_ref.rollout.n=3", f"visual_tool.max_errors={most}"]
    trainer, metrics = make_trainer(*overrides, stock=Steps), {}
    trainer.train_dataset = SimpleNamespace(dataframe=SimpleNamespace(column_names=columns))
    trainer.finite_checks = SimpleNamespace(check_advantages=lambda *_: None, check_update=lambda *_: None)
    stops = isinstance(outcome, str)
    with pytest.raises(RuntimeError, match=outcome) if stops else nullcontext():
        trainer._step_once(metrics, {}, 2)
    assert metrics.get("rollout_visual/lost/share") == (None if stops else outcome)


def test_hooks_run_in_the_order_of_the_methods_around_verls_estimator(queue, make_trainer, monkeypatch):
    calls: list[str] = []
    trainer = make_trainer("method=axpo", "algorithm.axpo.alignment=true", "algorithm.visual_credit.enable=true")

    def note(entry: str, result=None):
        return lambda *_: calls.append(entry) or result

    monkeypatch.setattr(PPOTrainer, "_compute_advantage", lambda self, batch, metrics: calls.append("verl") or batch)
    for method in trainer.methods:
        for hook, result in (("before_advantage", None), ("after_advantage", None), ("metrics", {})):
            monkeypatch.setattr(method, hook, note(f"{hook} {method.name}", result))
    trainer.finite_checks = SimpleNamespace(check_advantages=note("check_advantages"))
    trainer._compute_advantage(put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9]), {})
    order = ["axpo", "mapo", "vgpo"]
    assert calls == [
        *(f"before_advantage {name}" for name in order),
        "verl",
        *(f"after_advantage {name}" for name in order),
        "check_advantages",
        *(f"metrics {name}" for name in order),
    ]


def test_tokens_of_credited_rollouts_are_recorded_with_the_advantage_that_the_loss_gets(
    queue, make_trainer, tmp_path, model
):
    batch = put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9])
    lengths = [*LENGTHS, 1]
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.linspace(0.4, 0.6, 1 + length) for length in lengths])
    queue.fields["responses"] = jagged([torch.arange(40, 40 + length) for length in lengths])
    trainer = make_trainer("algorithm.visual_credit.enable=true", f"trainer.rollout_data_dir={tmp_path}")
    trainer.methods[-1].tokenizer = model.tokenizer
    trainer._compute_advantage(batch, {})
    first, *_ = trainer.records
    assert first["credit"]["tokens"] == [model.tokenizer.decode([token]) for token in range(40, 45)]
    assert first["credit"]["focus"] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56]), "one place before each token"
    assert first["credit"]["advantage"] == pytest.approx(queue.fields["advantages"].unbind()[0].tolist(), abs=5e-5)
    assert len(set(first["credit"]["advantage"])) == 5
    assert [len(record["credit"]["focus"]) for record in trainer.records] == LENGTHS
    json.dumps(trainer.records)


def test_unscored_turn_is_counted_and_too_many_stop_the_run(queue, make_trainer):
    metrics: dict = {}
    make_trainer()._compute_advantage(put_rows(queue, [0.3, None, 0.2, 0.2, 0.9]), metrics)
    assert metrics["mapo/alignment/unscored_share"] == 0.25
    with pytest.raises(RuntimeError, match="failed on 75% of the visual turns of step 7"):
        make_trainer()._compute_advantage(put_rows(queue, [0.3, None, None, None, 0.9]), {})


def test_only_the_log_prob_pass_gets_the_focus_request(queue, make_trainer, monkeypatch):
    seen = []

    def stock(self, batch, metrics):
        seen.append(dict(batch.extra_info))
        return batch

    monkeypatch.setattr(PPOTrainer, "_compute_old_log_prob", stock)
    batch = queue.batch(["a_0_0"])
    credited = make_trainer(
        "method=vgpo", "algorithm.visual_credit.prototype=latest", "algorithm.visual_credit.layer=2"
    )
    credited.methods[0].visual_token_ids = [7, 8]
    credited._compute_old_log_prob(batch, {})
    request = {"visual_token_ids": [7, 8], "prototype": "latest", "position": "own", "layers": [2]}
    request["similarity"] = "mean_state"
    assert seen[0][VISUAL_FOCUS.name] == request
    assert VISUAL_FOCUS.name not in batch.extra_info
    make_trainer()._compute_old_log_prob(batch, {})
    assert VISUAL_FOCUS.name not in seen[1]


class Stock(PPOTrainer):
    """The methods of verl that the trainer calls for a batch, without their work."""

    def _get_required_batch_multiple(self, dp_size):
        return 64

    def _balance_batch(self, batch, metrics, **_):
        return batch

    def _update_actor(self, batch, metrics):
        batch.extra_info.update(mini_batch_size=16, global_batch_size=16)
        return self.actor_rollout_wg.update_actor(batch)


BATCH = ["data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=2"]


def test_batch_with_added_rows_is_padded_only_for_ranks_and_steps(make_trainer):
    tokens = ["actor_rollout_ref.actor.use_dynamic_bsz=true", "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=true"]
    settings = ["method=axpo", *BATCH, *tokens]
    assert make_trainer(*settings, stock=Stock)._get_required_batch_multiple(2) == 8
    assert make_trainer(*settings, stock=Stock, parameter_sync_step=4)._get_required_batch_multiple(2) == 2
    assert make_trainer(*BATCH, stock=Stock)._get_required_batch_multiple(2) == 64, "other methods keep verl's rule"


def test_rows_divide_evenly_into_micro_batches_that_are_cut_by_rows(make_trainer):
    settings = [
        "method=axpo",
        *BATCH,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=6",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=5",
    ]
    assert make_trainer(*settings, stock=Stock)._get_required_batch_multiple(2) == 2 * 24, "4 steps x 2, and 6"
    with_reference = make_trainer(*settings, stock=Stock, use_reference_policy=True)
    assert with_reference._get_required_batch_multiple(2) == 2 * 120


def test_a_last_mini_batch_that_is_not_full_is_a_step(make_trainer):
    settings = ["method=axpo", "data.train_batch_size=5", "actor_rollout_ref.actor.ppo_mini_batch_size=2"]
    assert make_trainer(*settings, stock=Stock).optimizer_steps == 3


def test_update_with_added_rows_has_a_fixed_number_of_mini_batches(make_trainer):
    seen = []
    workers = SimpleNamespace(update_actor=lambda batch: seen.append(dict(batch.extra_info)))
    before = workers.update_actor
    make_trainer("method=axpo", *BATCH, stock=Stock, actor_rollout_wg=workers)._update_actor(KVBatchMeta(), {})
    make_trainer(*BATCH, stock=Stock, actor_rollout_wg=workers)._update_actor(KVBatchMeta(), {})
    assert seen == [{"global_batch_size": 16, "num_mini_batch": 4}, {"global_batch_size": 16, "mini_batch_size": 16}]
    assert workers.update_actor is before


def test_balanced_batch_gives_every_mini_batch_its_share_of_each_kind(queue, make_trainer):
    roles = [PLAIN] * 4 + [SOURCE] * 2 + [CONTINUATION] * 2
    queue.fields[ROLE.name] = torch.tensor(roles, dtype=ROLE.dtype)
    batch = queue.batch([f"a_{number}_0" for number in range(8)])
    workers = SimpleNamespace(_dispatch_info={"actor": [0]})
    settings = ["method=axpo", "data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=2"]
    balanced = make_trainer(*settings, stock=Stock, actor_rollout_wg=workers)._balance_batch(batch, {})
    order = [int(key.split("_")[1]) for key in balanced.keys]
    assert sorted(roles[row] for row in order[:4]) == sorted(roles[row] for row in order[4:])


def test_balanced_batch_gives_every_mini_batch_its_share_of_the_padding(queue, make_trainer):
    queue.fields[ROLE.name] = torch.full((4,), PLAIN, dtype=ROLE.dtype)
    batch = queue.batch([f"a_{number}_0" for number in range(4)], is_padding=[True, False, True, False])
    workers = SimpleNamespace(_dispatch_info={"actor": [0]})
    settings = ["method=axpo", "data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=2"]
    balanced = make_trainer(*settings, stock=Stock, actor_rollout_wg=workers)._balance_batch(batch, {})
    assert sorted(tag["is_padding"] for tag in balanced.tags[:2]) == [False, True]


def test_vgpo_multiplies_verls_grpo_by_the_factors(queue, make_trainer):
    batch = put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9])
    queue.fields[VISUAL_FOCUS.name] = jagged([torch.linspace(0.4, 0.6, 1 + length) for length in [*LENGTHS, 1]])
    make_trainer("algorithm.adv_estimator=grpo", "algorithm.visual_credit.enable=true")._compute_advantage(batch, {})
    by_flag = [row.clone() for row in queue.fields["advantages"].unbind()]
    make_trainer("method=vgpo")._compute_advantage(put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9]), {})
    for one, other in zip(by_flag, queue.fields["advantages"].unbind(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    score = torch.nested.to_padded_tensor(queue.fields[VISUAL_FOCUS.name], float("nan"))[:, :-1]
    mask = queue.fields["response_mask"].to_padded_tensor(0)
    group = torch.tensor([0, 0, 1, 1, 2])
    factors = visual_factors(score, ~score.isnan(), mask, group, VisualCreditSettings())
    assert torch.allclose(by_flag[0], ROOT * factors.token[0, :5] * factors.trajectory[0], atol=1e-4)


def test_dotted_path_that_leads_to_no_method_is_refused(make_trainer):
    with pytest.raises(ConfigError, match="algorithm.adv_estimator=nowhere.Method is refused"):
        make_trainer("algorithm.adv_estimator=nowhere.Method")


class Halved(Mapo):
    """A method of another package that builds on a built-in one."""

    name = "halved"

    def advantages(self, step, rewards, response_mask):
        return super().advantages(step, rewards, response_mask) / 2


def test_method_that_derives_from_a_built_in_one_runs(queue, make_trainer, monkeypatch):
    monkeypatch.setattr("verl_mapo.training.method.Halved", Halved, raising=False)
    metrics: dict = {}
    trainer = make_trainer("algorithm.adv_estimator=verl_mapo.training.method.Halved")
    trainer._compute_advantage(put_rows(queue, [0.3, 0.1, 0.2, 0.2, 0.9]), metrics)
    assert queue.fields["advantages"].unbind()[0].tolist() == pytest.approx([0.7 * ROOT] * 5, abs=1e-4)
    assert metrics["mapo/alignment/mean"] == pytest.approx(0.2)
