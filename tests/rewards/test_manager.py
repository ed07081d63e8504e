# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward manager as verl builds and calls it: verl's configuration, its loader and its batch of one row."""

import asyncio
import math

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from support.rewards import answer_turn, fault_turn, row_of, visual_turn
from support.scorers import NUMBER_SCORER, picture
from verl import DataProto
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import load_reward_manager

from verl_mapo.rewards.manager import DescriptionAlignmentRewardManager
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.rollout.audit_record import Audit, Swap
from verl_mapo.rollout.statuses import LabelFault
from verl_mapo.settings import ConfigError


def config_of(alignment=None, describe="before", custom=None) -> DictConfig:
    overrides = ["reward.reward_manager.name=description_alignment"]
    if custom is not None:
        overrides.append(f"reward.custom_reward_function.path={custom}")
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides)
    with open_dict(config):
        config.reward.description_alignment = OmegaConf.create({"scorer": {"kind": NUMBER_SCORER}, **(alignment or {})})
        config.visual_tool = {"describe": describe}
    return config


def manager_of(*args, tokenizer=None, **kwargs) -> DescriptionAlignmentRewardManager:
    return load_reward_manager(config_of(*args, **kwargs), tokenizer)


def run(manager: DescriptionAlignmentRewardManager, *data: DataProto) -> list[dict]:
    async def gather() -> list[dict]:
        return await asyncio.gather(*map(manager.run_single, data))

    return asyncio.run(gather())


def test_reward_is_the_outcome_and_alignment_is_returned_beside_it():
    turns = [visual_turn("label 0.5"), visual_turn("label 0.25"), answer_turn("<think>hm</think><answer>Red</answer>")]
    (result,) = run(manager_of(), row_of(turns))
    assert result["reward_score"] == 1.0
    assert result["reward_extra_info"] == {
        "acc": 1.0,
        "rule": 1.0,
        "undecided": 0.0,
        "alignment": 0.375,
        "visual_turns": 2.0,
        "unscored": 0.0,
        "zero_by_fault": 0.0,
        "alignment_scores": [0.5, 0.25],
    }


def test_turn_with_a_fault_has_alignment_0_without_the_scorer():
    refused = fault_turn(LabelFault.REFUSED, label="label 9", pixels=None)
    manager = manager_of()
    (result,) = run(manager, row_of([fault_turn(), visual_turn("label 0.6"), refused, answer_turn("blue")]))
    extra = result["reward_extra_info"]
    assert extra["alignment_scores"] == [0.0, 0.6, 0.0]
    assert (extra["zero_by_fault"], extra["unscored"], extra["visual_turns"]) == (2.0, 0.0, 3.0)
    assert extra["alignment"] == pytest.approx(0.2) and result["reward_score"] == 0.0
    assert manager.scorer.scorer.batches == [1]


def test_without_a_scorer_every_turn_is_unscored():
    manager = manager_of({"scorer": {"kind": "none"}})
    (result,) = run(manager, row_of([visual_turn("label 0.5"), fault_turn(), answer_turn("<answer>Red</answer>")]))
    assert result["reward_score"] == 1.0 and result["reward_extra_info"]["alignment"] is None
    assert result["reward_extra_info"]["alignment_scores"] == [None, None]
    with pytest.raises(ConfigError, match="kind='none' scores nothing, so that no actor is needed"):
        manager_of({"scorer": {"kind": "none", "placement": "actor"}})


@pytest.mark.parametrize("fault", LabelFault)
def test_every_fault_has_alignment_0_though_there_are_texts_and_an_image(fault):
    manager = manager_of(describe="both")
    (result,) = run(manager, row_of([fault_turn(fault, label="label 0.9", description="I see 0.8")]))
    extra = result["reward_extra_info"]
    assert extra["alignment_scores"] == [0.0] and extra["zero_by_fault"] == 1.0
    assert manager.scorer.scorer.batches == []


def test_unscored_turn_is_left_out_of_the_mean():
    (result,) = run(manager_of(), row_of([visual_turn("label nan"), visual_turn("label 0.4"), fault_turn()]))
    extra = result["reward_extra_info"]
    assert extra["alignment_scores"] == [None, 0.4, 0.0]
    assert extra["unscored"] == 1.0 and extra["alignment"] == pytest.approx(0.2)


@pytest.mark.parametrize(("describe", "score"), [("before", 0.2), ("after", 0.6), ("both", pytest.approx(0.4))])
def test_describe_chooses_the_text_that_is_scored(describe, score):
    turns = [visual_turn("label 0.2", description="I see 0.6"), answer_turn("red")]
    (result,) = run(manager_of(describe=describe), row_of(turns))
    assert result["reward_extra_info"]["alignment_scores"] == [score]


def test_turn_is_unscored_if_one_of_its_two_texts_is_unscored():
    (result,) = run(manager_of(describe="both"), row_of([visual_turn("label 0.2", description="I see nan")]))
    assert result["reward_extra_info"]["alignment_scores"] == [None]


def test_every_row_has_terms_of_the_same_names():
    rows = [[], [answer_turn("red")], [visual_turn("label 1")], [visual_turn("label nan")], [fault_turn()]]
    judge = {"url": "http://127.0.0.1:9/v1", "model": "j", "retries": 0}
    for alignment in (None, {"judge": judge}):
        results = run(manager_of(alignment), *map(row_of, rows))
        assert len({tuple(result["reward_extra_info"]) for result in results}) == 1
        assert [result["reward_score"] for result in results] == [0.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("reward_model", "reason"),
    [
        ({"style": "support.rewards.same_length", "ground_truth": "red"}, "The answer check support.rewards.same_"),
        ({"style": "exact"}, "In the data, in reward_model, the ground truth None is no answer"),
        ({"ground_truth": "red"}, "In the data, reward_model.style is missing"),
        (3, "The computation of the outcome raised AttributeError: "),
    ],
)
def test_outcome_that_cannot_be_computed_is_no_zero_and_costs_no_other_rollout(
    monkeypatch, caplog, reward_model, reason
):
    def fail(answer, truth, **_):
        raise KeyError("x")

    monkeypatch.setattr("support.rewards.same_length", fail)
    turns = [visual_turn("label 0.5"), answer_turn("red")]
    failed, sound = run(manager_of(), row_of(turns, reward_model=reward_model), row_of(turns))
    extra = failed["reward_extra_info"]
    assert failed["reward_score"] == 0.0 and (extra["acc"], extra["rule"]) == (None, None)
    assert extra["outcome_error"].startswith(reason) and reason in caplog.text
    assert extra["alignment_scores"] == [0.5] and set(extra) == {*sound["reward_extra_info"], "outcome_error"}
    assert sound["reward_score"] == 1.0


def test_rollout_that_an_error_in_a_tool_has_ended_is_not_judged():
    data = row_of([answer_turn("red")])
    data.non_tensor_batch["tool_extra_fields"][0]["trajectory"].error = "The tool zoom raised KeyError."
    (result,) = run(manager_of(), data)
    assert result["reward_score"] == 0.0 and result["reward_extra_info"]["acc"] is None
    assert result["reward_extra_info"]["outcome_error"] == "The tool zoom raised KeyError."


def test_concurrent_rollouts_share_batches():
    manager = manager_of()
    rows = [row_of([visual_turn(f"label {index}"), visual_turn(f"label {index + 0.5}")]) for index in range(16)]
    results = run(manager, *rows)
    assert [result["reward_extra_info"]["alignment_scores"] for result in results] == [[i, i + 0.5] for i in range(16)]
    assert len(manager.scorer.scorer.batches) <= 2


def test_custom_function_of_the_configuration_replaces_the_answer_check(tmp_path):
    class Tokenizer:
        def decode(self, tokens, skip_special_tokens):
            return f"{len(tokens)} tokens"

    path = tmp_path / "custom.py"
    path.write_text("def compute_score(solution_str, **_):\n    return {'score': 0.7, 'said': solution_str}\n")
    (result,) = run(manager_of(custom=path, tokenizer=Tokenizer()), row_of([visual_turn("label 0.5")]))
    extra = result["reward_extra_info"]
    assert result["reward_score"] == extra["acc"] == 0.7 and extra["said"] == "3 tokens"
    assert extra["alignment_scores"] == [0.5] and "rule" not in extra


def test_row_without_a_trajectory_is_refused_with_the_setting_that_records_one():
    with pytest.raises(ConfigError, match=r"actor_rollout_ref\.rollout\.agent\.default_agent_loop=visual_tool_agent"):
        run(manager_of(), row_of(None))


def test_wrong_settings_are_refused_when_the_manager_is_built():
    with pytest.raises(ConfigError, match=r"reward\.description_alignment\.scorer\.model=None"):
        manager_of({"scorer": {}})
    with pytest.raises(ConfigError, match=r"visual_tool\.describe='later'"):
        manager_of(describe="later")


def test_manager_with_clip_returns_the_scores_of_clip(clip_folder):
    manager = manager_of({"scorer": {"model": clip_folder, "device": "cpu"}})
    (result,) = run(manager, row_of([visual_turn("red square"), answer_turn("red")]))
    expected = build_scorer(ScorerSettings(model=clip_folder, device="cpu")).score(["red square"], [picture(0)])
    assert result["reward_extra_info"]["alignment_scores"] == pytest.approx(expected, abs=1e-5)


def test_verls_validation_leaves_out_a_missing_alignment_but_not_a_nan():
    red = answer_turn("red")
    turns = [[visual_turn("label 0.5"), red], [red], [visual_turn("label 0.3"), red], [red]]
    infos = [result["reward_extra_info"] for result in run(manager_of(), *map(row_of, turns))]
    values = {name: [info[name] for info in infos] for name in infos[0] if name != "alignment_scores"}
    uids = ["a", "b", "c", "d"]
    metrics = process_validation_metrics(["colours"] * 4, uids, values)["colours"]
    assert metrics["alignment"]["mean@1"] == pytest.approx(0.4)
    assert metrics["acc"]["mean@1"] == 1.0 and metrics["visual_turns"]["mean@1"] == 0.5
    with_nan = process_validation_metrics(["colours"] * 2, uids[:2], {"alignment": [0.5, math.nan]})["colours"]
    assert math.isnan(with_nan["alignment"]["mean@1"])


def test_answers_to_swapped_images_are_judged_as_the_own_one_and_are_no_terms():
    row = row_of([visual_turn("label 0.5"), answer_turn("<answer>Red</answer>")])
    trajectory = row.non_tensor_batch["tool_extra_fields"][0]["trajectory"]
    swaps = [Swap("blank", reply="<answer>red</answer>"), Swap("random_crop", reply="no"), Swap("repeat", error="zoom")]
    trajectory.audit = Audit(0, None, swaps)
    (result,) = run(manager_of(), row)
    assert result["reward_extra_info"]["audit_outcomes"] == [1.0, 0.0, None]
    assert result["reward_score"] == result["reward_extra_info"]["acc"] == 1.0
    assert trajectory.join_scores(result["reward_extra_info"])
    assert [swap.outcome for swap in trajectory.audit.swaps] == [1.0, 0.0, None]
