# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient lens in the trainer: what it writes of a step, and which runs it refuses."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from support.fake_queue import jagged, scored_rows
from support.scripted import compose_config
from verl.trainer.ppo.v1 import PPOTrainer

from verl_mapo.columns import GRADIENT_SKETCH, PERCEPTION, TURN_SCORES, TURN_STATUS, UNSEEN_LOG_PROBS, VISUAL_FOCUS
from verl_mapo.lens.collection import Collection
from verl_mapo.lens_command import estimators
from verl_mapo.names import VIEWED, WEIGHING
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.lens import Lens
from verl_mapo.training.methods import enabled_methods
from verl_mapo.training.step_batch import StepBatch
from verl_mapo.views.passes import VIEWS


def make_method(make_trainer, folder, *overrides: str) -> Lens:
    return next(
        method for method in make_trainer(f"lens.folder={folder}", *overrides).methods if isinstance(method, Lens)
    )


def test_what_is_known_of_a_step_is_written(queue, make_trainer, tmp_path):
    masks = [torch.tensor(mask) for mask in ([1, 0, 1], [1, 1], [1], [1, 1])]
    looked = Trajectory([], [], [Turn((0, 1), "x", TurnStatus.OK), Turn((2, 3), "y", TurnStatus.BAD_BOX)])
    queue.fields |= scored_rows(masks, [1.0, 0.0, 1.0, 0.0], [looked, *[None] * 3])
    queue.fields[GRADIENT_SKETCH.name] = torch.arange(32.0).view(4, 8)
    queue.fields[TURN_SCORES.name] = torch.tensor([[0.3], [0.2], [0.1], [0.0]])
    queue.fields[TURN_STATUS.name] = torch.tensor([[1], [1], [2], [0]], dtype=torch.int8)
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
    batch = queue.batch(keys, is_padding=[False, False, False, True])
    method = make_method(make_trainer, tmp_path, "lens.size=8")
    method.after_advantage(StepBatch.fetch(batch, 3, Lens.columns))
    found = load_file(tmp_path / "step_3.safetensors")
    assert torch.equal(found["sketches"], torch.arange(24.0).view(3, 8)), "padding is no rollout"
    assert found["question"].tolist() == [0, 0, 1] and found["outcome"].tolist() == [1, 0, 1]
    assert found["turn_status"].tolist() == [[1], [1], [2]] and found["tokens"].tolist() == [2, 2, 1]
    assert found["calls"].tolist() == [2, 0, 0]


def test_padding_takes_no_number_of_a_question(queue, make_trainer, tmp_path):
    queue.fields |= scored_rows([torch.tensor([1])] * 3, [1.0, 0.0, 0.0], [None] * 3)
    queue.fields[GRADIENT_SKETCH.name] = torch.zeros(3, 8)
    batch = queue.batch(["a_0_0", "padding_0_0", "b_0_0"], is_padding=[False, True, False])
    make_method(make_trainer, tmp_path, "lens.size=8").after_advantage(StepBatch.fetch(batch, 1, Lens.columns))
    assert load_file(tmp_path / "step_1.safetensors")["question"].tolist() == [0, 1]


def test_sketches_with_token_weights_are_written_by_name(queue, make_trainer, tmp_path):
    queue.fields |= scored_rows([torch.tensor([1])] * 2, [1.0, 0.0], [None] * 2)
    method = make_method(make_trainer, tmp_path, "lens.size=1", "lens.token_weights=[vgpo,pepo]")
    queue.fields[GRADIENT_SKETCH.name] = torch.arange(18.0).view(2, 9)
    method.after_advantage(StepBatch.fetch(queue.batch(["a_0_0", "a_1_0"]), 1, Lens.columns))
    found = {name: values.flatten().tolist() for name, values in load_file(tmp_path / "step_1.safetensors").items()}
    assert found["sketches"] == [0, 9]
    for number, name in enumerate(["vgpo", "vgpo, shuffled", "pepo", "pepo, shuffled"]):
        assert found[f"weighted/{name}"] == [1 + 2 * number, 10 + 2 * number]
        assert found[f"row_score/{name}"] == [2 + 2 * number, 11 + 2 * number]


def test_token_weights_are_those_of_the_method_unless_they_are_named(tmp_path, model):
    for overrides, names in {
        ("method=mapo",): [],
        ("method=vgpo",): ["vgpo"],
        ("method=vgpo", "lens.token_weights=[]"): [],
        ("method=mapo", "algorithm.visual_credit.enable=true"): ["vgpo"],
        ("method=mapo", "lens.token_weights=[pepo,vgpo,pepo]"): ["pepo", "vgpo"],
        ("method=vppo", "algorithm.visual_credit.enable=true"): ["vgpo", "vppo"],
    }.items():
        path = f"actor_rollout_ref.model.path={model.folder}"
        method = Lens(compose_config(*overrides, f"lens.folder={tmp_path}", path))
        method.check_model(None, model.processor)
        request = method.log_prob_request()[GRADIENT_SKETCH.name]
        assert list(request["weights"]) == names
        if "pepo" in names:
            layers = {name: each[VISUAL_FOCUS.name]["layers"] for name, each in request["weights"].items()}
            assert layers["pepo"] != layers["vgpo"] == [-1]


def test_trainers_pass_gets_the_requests_of_all_weightings_and_its_columns_come_back(
    queue, make_trainer, model, tmp_path
):
    """The table then has a row and a placebo of each, from the parts that the steps wrote."""
    seen, rows = [], 4
    queue.fields |= scored_rows([torch.tensor([1, 1])] * rows, [1.0, 0.0] * 2, [None] * rows)
    queue.fields["responses"] = jagged([torch.tensor([5, 6])] * rows)
    batch = queue.batch([f"{uid}_{row}_0" for uid in "ab" for row in range(2)])

    class Stock(PPOTrainer):
        def _compute_old_log_prob(self, batch, metrics):
            seen.append(batch.extra_info[GRADIENT_SKETCH.name])
            queue.fields[GRADIENT_SKETCH.name] = torch.rand(rows, 4 + 12 * 5)
            return batch

    weights = f"lens.token_weights=[{','.join(WEIGHING)}]"
    path = f"actor_rollout_ref.model.path={model.folder}"
    trainer = make_trainer("method=grpo", f"lens.folder={tmp_path}", "lens.size=4", weights, path, stock=Stock)
    for method in trainer.methods:
        method.check_model(model.tokenizer, model.processor)
    batch = trainer._compute_old_log_prob(batch, {})
    [asked] = seen
    assert list(asked["weights"]) == list(WEIGHING) and not batch.extra_info
    views = {name: asked["weights"][name][VIEWS] for name in VIEWED}
    assert views["srpo"] == views["vppo"] | {UNSEEN_LOG_PROBS.name: {"hidden": PERCEPTION.name}}
    assert [row.tolist() for row in queue.fields[PERCEPTION.name].unbind()] == [[0, 0]] * rows
    [lens] = [method for method in trainer.methods if isinstance(method, Lens)]
    lens.after_advantage(StepBatch.fetch(batch, 1, Lens.columns))
    found = Collection.of_parts(tmp_path, 2, {})
    assert all(found.has(row.tokens) for row in estimators() if not row.continuations)
    assert torch.equal(
        found.further[f"weighted/{WEIGHING[-1]}, shuffled"], queue.fields[GRADIENT_SKETCH.name][:, -5:-1]
    )


def test_srpo_is_measured_beside_a_run_of_srpo_only_with_default_settings(tmp_path):
    folder = f"lens.folder={tmp_path}"
    Lens(compose_config("method=srpo", folder)).check()
    with pytest.raises(ConfigError, match=r"refused with algorithm.srpo.* other than their defaults"):
        Lens(compose_config("method=srpo", "algorithm.srpo.labels=false", folder)).check()
    Lens(compose_config("method=srpo", "algorithm.srpo.labels=false", folder, "lens.token_weights=[vppo]")).check()


def test_step_without_sketches_is_an_error_in_words(queue, make_trainer, tmp_path):
    queue.fields |= scored_rows([torch.tensor([1])], [1.0], [None])
    method = make_method(make_trainer, tmp_path)
    with pytest.raises(ConfigError, match="gave no gradients, which the lens needs"):
        method.after_advantage(StepBatch.fetch(queue.batch(["a_0_0"]), 1, Lens.columns))


def test_lens_runs_beside_any_estimator_and_only_with_a_folder(tmp_path):
    assert Lens not in enabled_methods(compose_config())
    for estimator in ("method=mapo", "method=vgpo", "algorithm.adv_estimator=grpo"):
        config = compose_config(estimator, f"lens.folder={tmp_path}", f"lens.token_weights=[{','.join(WEIGHING)}]")
        assert enabled_methods(config)[-1] is Lens
        check_config(config)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algorithm.rollout_correction.bypass_mode=true", "needs a log-prob pass"),
        ("actor_rollout_ref.actor.strategy=fsdp_turbo", "gives no gradients of single rows"),
        ("actor_rollout_ref.actor.ulysses_sequence_parallel_size=2", "where GPUs share a sequence"),
    ],
)
def test_run_whose_gradients_cannot_be_read_is_refused(tmp_path, override, words):
    config = compose_config(override, f"lens.folder={tmp_path}")
    with pytest.raises(ConfigError, match=words):
        Lens(config).check()


@pytest.mark.parametrize("override", ["lens.size=0", "lens.layers=-1", "lens.token_weights=[dtpo]", "+lens.bucket=3"])
def test_wrong_setting_is_refused(override):
    with pytest.raises(ConfigError, match=r"lens\."):
        check_config(compose_config(override))
