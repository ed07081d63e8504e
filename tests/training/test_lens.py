# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient lens in the trainer: what it writes of a step, and which runs it refuses."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from support.fake_queue import scored_rows
from support.scripted import compose_config

from verl_mapo.columns import GRADIENT_SKETCH, TURN_SCORES, TURN_STATUS
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.lens import Lens
from verl_mapo.training.methods import enabled_methods
from verl_mapo.training.step_batch import StepBatch


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


def test_sketches_with_token_weights_are_written_by_name(queue, make_trainer, tmp_path):
    queue.fields |= scored_rows([torch.tensor([1])] * 2, [1.0, 0.0], [None] * 2)
    method = make_method(make_trainer, tmp_path, "lens.size=1", "lens.token_weights=[vgpo,pepo]")
    queue.fields[GRADIENT_SKETCH.name] = torch.arange(14.0).view(2, 7)
    method.after_advantage(StepBatch.fetch(queue.batch(["a_0_0", "a_1_0"]), 1, Lens.columns))
    found = {name: values.flatten().tolist() for name, values in load_file(tmp_path / "step_1.safetensors").items()}
    assert found["sketches"] == [0, 7] and found["weighted/vgpo"] == [1, 8] and found["weighted/pepo"] == [4, 11]
    assert found["weighted/vgpo, shuffled"] == [2, 9] and found["weighted/pepo, shuffled"] == [5, 12]
    assert found["row_score/vgpo"] == found["row_score/vgpo, shuffled"] == [3, 10] and found["row_score/pepo"] == [
        6,
        13,
    ]


def test_token_weights_are_those_of_the_method_unless_they_are_named(tmp_path, model):
    for overrides, names in {
        ("method=mapo",): [],
        ("method=vgpo",): ["vgpo"],
        ("method=vgpo", "lens.token_weights=[]"): [],
        ("method=mapo", "algorithm.visual_credit.enable=true"): ["vgpo"],
        ("method=mapo", "lens.token_weights=[pepo,vgpo,pepo]"): ["pepo", "vgpo"],
    }.items():
        path = f"actor_rollout_ref.model.path={model.folder}"
        method = Lens(compose_config(*overrides, f"lens.folder={tmp_path}", path))
        method.check_model(None, model.processor)
        request = method.log_prob_request()[GRADIENT_SKETCH.name]
        assert list(request["weights"]) == names
        if "pepo" in names:
            assert request["weights"]["pepo"]["layers"] != request["weights"]["vgpo"]["layers"] == [-1]


def test_step_without_sketches_is_an_error_in_words(queue, make_trainer, tmp_path):
    queue.fields |= scored_rows([torch.tensor([1])], [1.0], [None])
    method = make_method(make_trainer, tmp_path)
    with pytest.raises(ConfigError, match="gave no gradients, which the lens needs"):
        method.after_advantage(StepBatch.fetch(queue.batch(["a_0_0"]), 1, Lens.columns))


def test_lens_runs_beside_any_estimator_and_only_with_a_folder(tmp_path):
    assert Lens not in enabled_methods(compose_config())
    for estimator in ("method=mapo", "method=vgpo", "algorithm.adv_estimator=grpo"):
        config = compose_config(estimator, f"lens.folder={tmp_path}")
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
