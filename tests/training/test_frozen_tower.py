# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A frozen vision tower stays bit for bit as it is, and the rest of the model learns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from support.passes import add_adapters, rows_of, tiny_engine
from support.scripted import compose_config
from torch import nn
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import FSDPOptimizerConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

from verl_mapo.coldstart.command import CONFIG
from verl_mapo.coldstart.settings import check_sft
from verl_mapo.planning.compose import composed
from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.frozen_tower import FREEZE, freeze, vision_tower
from verl_mapo.training.method_engine import MethodEngine

ACTOR = "actor_rollout_ref.actor"


def wrapped(engine, monkeypatch, asked: bool) -> torch.optim.Optimizer:
    """What the engine does before verl wraps the module, and its optimizer."""
    monkeypatch.setattr(FSDPEngine, "_build_fsdp_module", lambda self, module: module)
    engine.engine_config = {FREEZE: asked}
    engine.optimizer_config = FSDPOptimizerConfig(lr=1e-3)
    return engine._build_optimizer(engine._build_fsdp_module(engine.module))


@pytest.mark.parametrize("asked", [True, False])
def test_an_update_leaves_a_frozen_tower_as_it_is(model, picture, monkeypatch, asked):
    engine = tiny_engine(model.folder, monkeypatch)
    module, row = engine.module, rows_of(engine.module, model, picture)[0]
    optimizer = wrapped(engine, monkeypatch, asked)
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    for _ in range(2):
        logits = module(
            input_ids=row["input_ids"][None], position_ids=row["position_ids"][:, None], **row["multi_modal_inputs"]
        ).logits
        nn.functional.cross_entropy(logits[0, :-1], row["input_ids"][1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    same = {name for name, weight in module.named_parameters() if torch.equal(weight, before[name])}
    tower = {name for name in before if ".visual." in name}
    assert any("merger" in name for name in tower)
    assert (same >= tower and not same - tower) if asked else not same & {"model.visual.merger.mlp.0.weight"}
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    assert held == len(before) - (len(tower) if asked else 0)


def test_adapters_in_a_frozen_tower_are_frozen_as_well(model, monkeypatch):
    engine = tiny_engine(model.folder, monkeypatch)
    add_adapters(engine)
    freeze(engine.module)
    trained = [name for name, weight in engine.module.named_parameters() if weight.requires_grad]
    assert trained and not any(".visual." in name for name in trained)


def test_a_model_without_a_tower_is_refused():
    with pytest.raises(ConfigError, match="has no module named visual"):
        vision_tower(nn.Linear(2, 2))


@pytest.mark.parametrize("asked", [True, False])
def test_the_setting_of_the_actor_reaches_its_engine_alone(asked):
    config = compose_config(f"{ACTOR}.{FREEZE}={asked}", f"{ACTOR}.ppo_micro_batch_size_per_gpu=1")
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert actor.engine.get(FREEZE) is asked
    reference = SimpleNamespace(engine=omega_conf_to_dataclass(config.actor_rollout_ref.ref.fsdp_config))
    assert not reference.engine.get(FREEZE)


def test_strategies_that_cannot_freeze_a_tower_are_refused():
    check_config(compose_config(f"{ACTOR}.{FREEZE}=true"))
    with pytest.raises(ConfigError, match="joins frozen and trained parameters"):
        check_config(compose_config(f"{ACTOR}.{FREEZE}=true", f"{ACTOR}.strategy=fsdp"))
    orig = f"{ACTOR}.fsdp_config.use_orig_params=true"
    check_config(compose_config(f"{ACTOR}.{FREEZE}=true", f"{ACTOR}.strategy=fsdp", orig))
    config = compose_config(f"{ACTOR}.{FREEZE}=true", "model_engine=megatron")
    with pytest.raises(ConfigError, match="freeze_vision_tower=true is refused with .*strategy=megatron"):
        check_config(config)


def checkpoint(folder, monkeypatch, frozen: bool) -> None:
    """What the engine adds to a checkpoint of verl, which is marked as the latest of its run."""
    monkeypatch.setattr(FSDPEngine, "save_checkpoint", lambda self, local_path, **_: None)
    for rank in (1, 0):
        engine = MethodEngine.__new__(MethodEngine)
        engine.rank, engine.engine_config = rank, {FREEZE: frozen}
        engine.save_checkpoint(local_path=str(folder), global_step=4, max_ckpt_to_keep=2)
        assert len(list(folder.glob("*"))) == (not rank)


CHECKS = {
    "RL": ("actor", f"{ACTOR}.{FREEZE}", f"{ACTOR}.checkpoint.load_contents", compose_config, check_config),
    "SFT": (
        "",
        f"engine.{FREEZE}",
        "checkpoint.load_contents",
        lambda *overrides: composed(CONFIG, ["model.path=/unused", "data.train_files=/unused", *overrides]),
        check_sft,
    ),
}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(("part", "setting", "loaded", "compose", "check"), CHECKS.values(), ids=CHECKS)
def test_a_run_goes_on_with_the_value_of_its_checkpoint_alone(
    part, setting, loaded, compose, check, frozen, monkeypatch, tmp_path
):
    folder = tmp_path / "global_step_4"
    checkpoint(folder / part, monkeypatch, frozen)
    run, other = f"trainer.default_local_dir={tmp_path}", f"{setting}={not frozen}"
    check(compose(run, other))
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("4")
    check(compose(run, f"{setting}={frozen}"))
    check(compose(run, other, "trainer.resume_mode=disable"))
    check(compose(run, other, f"{loaded}=[model,extra]"))
    was, now = str(frozen).lower(), str(not frozen).lower()
    words = f"{setting}={now} is refused, .* from {folder}, which was written with {was}, .*: set {setting}={was}"
    given = ["trainer.resume_mode=resume_path", f"trainer.resume_from_path={folder}"]
    for resumed in ([run], given):
        with pytest.raises(ConfigError, match=words):
            check(compose(other, *resumed))
    next((folder / part).glob("*.json")).unlink()
    check(compose(run, other))
