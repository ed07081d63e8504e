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
"""The manager as verl builds and calls it: verl's configuration, verl's loader, verl's batch of one row."""

import asyncio
import math
import pickle

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from scorer_support import LengthScorer, crop_bytes, picture
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import load_reward_manager

from verl_mapo.rewards.manager import DescriptionAlignmentRewardManager
from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.settings import ScorerSettings
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError

OWN = f"{LengthScorer.__module__}.{LengthScorer.__name__}"
CROP = crop_bytes(0)
register("description_alignment")(DescriptionAlignmentRewardManager)


def config_of(alignment=None, describe="before", custom=None) -> DictConfig:
    overrides = ["reward.reward_manager.name=description_alignment"]
    if custom is not None:
        overrides.append(f"reward.custom_reward_function.path={custom}")
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides)
    with open_dict(config):
        config.reward.description_alignment = OmegaConf.create({"scorer": {"kind": OWN}, **(alignment or {})})
        config.visual_tool = {"describe": describe}
    return config


def manager_of(*args, tokenizer=None, **kwargs) -> DescriptionAlignmentRewardManager:
    return load_reward_manager(config_of(*args, **kwargs), tokenizer)


def look(label=None, crop: bytes | None = CROP, **fields) -> Turn:
    return Turn(span=(0, 1), text="<tool_call>...", status="ok", described=True, label=label, crop=crop, **fields)


def answer(text: str) -> Turn:
    return Turn(span=(1, 2), text=text)


def data_of(turns: list[Turn] | None, ground_truth="red", response=(5, 6, 7), **row) -> DataProto:
    """The batch of ``AgentLoopWorker._compute_score``, sent through pickle as Ray would."""
    responses = torch.tensor(response)
    kwargs = {
        "data_source": "colours",
        "reward_model": {"style": "rule", "ground_truth": ground_truth},
        "extra_info": {"index": 3},
        "raw_prompt": [
            {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "?"}]}
        ],
        "uid": "u",
        **row,
    }
    extra_fields = {} if turns is None else {"trajectory": Trajectory(["a.png"], [(80, 60)], turns, "answer")}
    data = DataProto(
        batch=TensorDict(
            {
                "prompts": torch.ones(1, 2, dtype=torch.int64),
                "responses": responses.unsqueeze(0),
                "attention_mask": torch.ones(1, 2 + len(responses), dtype=torch.int64),
            },
            batch_size=1,
        ),
        non_tensor_batch={
            **{key: np.array([value]) for key, value in kwargs.items()},
            "__num_turns__": np.array([2]),
            "tool_extra_fields": np.array([extra_fields], dtype=object),
        },
    )
    return pickle.loads(pickle.dumps(data))


def run(manager: DescriptionAlignmentRewardManager, *data: DataProto) -> list[dict]:
    async def gather() -> list[dict]:
        return await asyncio.gather(*map(manager.run_single, data))

    return asyncio.run(gather())


def test_the_outcome_is_the_reward_and_alignment_goes_beside_it():
    turns = [look("label 0.5"), look("label 0.25"), answer("<think>hm</think><answer>Red</answer>")]
    (result,) = run(manager_of(), data_of(turns))
    assert result["reward_score"] == 1.0
    assert result["reward_extra_info"] == {
        "acc": 1.0,
        "rule": 1.0,
        "alignment": 0.375,
        "visual_turns": 2.0,
        "unscored": 0.0,
        "zero_by_fault": 0.0,
        "turn_scores": [0.5, 0.25],
    }


def test_faults_are_zeros_that_no_scorer_sees():
    faulty = look(None, faults=["no_label"])
    refused = look("label 9", crop=None, faults=["refused"])
    manager = manager_of()
    (result,) = run(manager, data_of([faulty, look("label 0.6"), refused, answer("blue")]))
    extra = result["reward_extra_info"]
    assert extra["turn_scores"] == [0.0, 0.6, 0.0]
    assert (extra["zero_by_fault"], extra["unscored"], extra["visual_turns"]) == (2.0, 0.0, 3.0)
    assert extra["alignment"] == pytest.approx(0.2) and result["reward_score"] == 0.0
    assert manager.scorer.scorer.batches == [1]


def test_an_unscored_turn_is_no_zero():
    (result,) = run(manager_of(), data_of([look("label nan"), look("label 0.4"), look(None, faults=["no_label"])]))
    extra = result["reward_extra_info"]
    assert extra["turn_scores"] == [None, 0.4, 0.0]
    assert extra["unscored"] == 1.0 and extra["alignment"] == pytest.approx(0.2)


@pytest.mark.parametrize(("describe", "score"), [("before", 0.2), ("after", 0.6), ("both", pytest.approx(0.4))])
def test_what_is_scored_is_what_the_model_has_to_say(describe, score):
    turns = [look("label 0.2", description="I see 0.6"), answer("red")]
    (result,) = run(manager_of(describe=describe), data_of(turns))
    assert result["reward_extra_info"]["turn_scores"] == [score]


def test_with_both_half_a_score_is_none():
    (result,) = run(manager_of(describe="both"), data_of([look("label 0.2", description="I see nan")]))
    assert result["reward_extra_info"]["turn_scores"] == [None]


def test_every_row_has_the_same_terms():
    rows = [[], [answer("red")], [look("label 1")], [look("label nan")], [look(None, faults=["no_label"])]]
    judge = {"url": "http://127.0.0.1:9/v1", "model": "j", "retries": 0}
    for alignment in (None, {"judge": judge}):
        results = run(manager_of(alignment), *map(data_of, rows))
        assert len({tuple(result["reward_extra_info"]) for result in results}) == 1
        assert [result["reward_score"] for result in results] == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_rollouts_share_batches():
    manager = manager_of()
    rows = [data_of([look(f"label {index}"), look(f"label {index + 0.5}")]) for index in range(16)]
    results = run(manager, *rows)
    assert [result["reward_extra_info"]["turn_scores"] for result in results] == [[i, i + 0.5] for i in range(16)]
    assert len(manager.scorer.scorer.batches) <= 2


@pytest.mark.parametrize(
    ("reward_model", "text", "reward"),
    [
        ({"style": "rule", "ground_truth": "red"}, "RED.", 1.0),
        ({"ground_truth": ["crimson", "red"]}, "red", 1.0),
        ({"style": "multiple_choice", "ground_truth": "C"}, "Answer: C", 1.0),
        ({"style": "multiple_choice", "ground_truth": "B", "options": ["cat", "dog"]}, "<answer>dog</answer>", 1.0),
        ({"style": "numeric", "ground_truth": 12}, "about 12 cm", 1.0),
        ({"style": "math", "ground_truth": "0.5"}, r"\boxed{\frac{1}{2}}", 1.0),
        ({"style": "math", "ground_truth": "0.5"}, r"\boxed{\frac{1}{3}}", 0.0),
    ],
)
def test_the_row_says_how_its_answer_is_compared(reward_model, text, reward):
    (result,) = run(manager_of(), data_of([answer(text)], reward_model=reward_model))
    assert result["reward_score"] == reward


def test_the_settings_overrule_the_row():
    data = data_of([answer("12.0")], reward_model={"style": "exact", "ground_truth": "12"})
    assert run(manager_of({"outcome": "numeric"}), data)[0]["reward_score"] == 1.0
    assert run(manager_of(), data)[0]["reward_score"] == 0.0


def test_a_judge_that_fails_leaves_the_rule_and_is_counted():
    judge = {"url": "http://127.0.0.1:9/v1", "model": "j", "retries": 0}
    right, wrong = run(manager_of({"judge": judge}), data_of([answer("red")]), data_of([answer("crimson")]))
    names = ("acc", "rule", "judge", "judge_failed")
    assert [right["reward_extra_info"][name] for name in names] == [1.0, 1.0, None, 0.0]
    assert [wrong["reward_extra_info"][name] for name in names] == [0.0, 0.0, None, 1.0]


def test_a_judge_may_accept_what_the_rule_does_not():
    manager = manager_of({"judge": {"url": "http://127.0.0.1:9/v1", "model": "j"}})
    asked = []

    async def verdict(question: str, answer: str, truths: list[str]) -> bool:
        asked.append((question, answer, truths))
        return True

    manager.outcome.judge.verdict = verdict
    crimson, red = run(manager, data_of([answer("crimson")]), data_of([answer("red")]))
    assert crimson["reward_score"] == crimson["reward_extra_info"]["acc"] == 1.0
    assert crimson["reward_extra_info"]["rule"] == 0.0 and red["reward_score"] == 1.0
    assert asked == [("?", "crimson", ["red"])]


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_custom_function_replaces_the_check(tmp_path, clip_folder, kind):
    path = tmp_path / "custom.py"
    path.write_text(
        f"{kind} compute_score(data_source, solution_str, ground_truth, extra_info):\n"
        "    assert extra_info['trajectory'].visual_turns\n"
        "    assert (extra_info['index'], extra_info['num_turns']) == (3, 2)\n"
        "    return {'score': 0.7, 'said': solution_str, 'source': data_source, 'truth': ground_truth}\n"
    )
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    response = tokenizer("blue").input_ids
    data = data_of([look("label 0.5"), answer("nothing")], response=response)
    (result,) = run(manager_of(custom=path, tokenizer=tokenizer), data)
    extra = result["reward_extra_info"]
    assert result["reward_score"] == extra["acc"] == extra["score"] == 0.7
    assert extra["said"].replace(" ", "") == "blue" and (extra["source"], extra["truth"]) == ("colours", "red")
    assert extra["turn_scores"] == [0.5] and "rule" not in extra


def test_without_a_trajectory_the_missing_setting_is_named():
    with pytest.raises(ConfigError, match=r"actor_rollout_ref\.rollout\.agent\.default_agent_loop=visual_tool_agent"):
        run(manager_of(), data_of(None))


def test_wrong_settings_stop_the_worker_at_its_start():
    with pytest.raises(ConfigError, match=r"reward\.description_alignment\.scorer\.model=None"):
        manager_of({"scorer": {}})
    with pytest.raises(ConfigError, match=r"visual_tool\.describe='later'"):
        manager_of(describe="later")


def test_a_real_clip_end_to_end(clip_folder):
    manager = manager_of({"scorer": {"model": clip_folder, "device": "cpu"}})
    (result,) = run(manager, data_of([look("red square"), answer("red")]))
    expected = build_scorer(ScorerSettings(model=clip_folder, device="cpu")).score(["red square"], [picture(0)])
    assert result["reward_extra_info"]["turn_scores"] == pytest.approx(expected, abs=1e-5)


def test_verls_validation_leaves_out_a_missing_alignment_where_a_nan_would_spread():
    turns = [[look("label 0.5"), answer("red")], [answer("red")], [look("label 0.3"), answer("red")], [answer("red")]]
    infos = [result["reward_extra_info"] for result in run(manager_of(), *map(data_of, turns))]
    values = {name: [info[name] for info in infos] for name in infos[0] if name != "turn_scores"}
    uids = ["a", "b", "c", "d"]
    metrics = process_validation_metrics(["colours"] * 4, uids, values)["colours"]
    assert metrics["alignment"]["mean@1"] == pytest.approx(0.4)
    assert metrics["acc"]["mean@1"] == 1.0 and metrics["visual_turns"]["mean@1"] == 0.5
    spread = process_validation_metrics(["colours"] * 2, uids[:2], {"alignment": [0.5, math.nan]})["colours"]
    assert math.isnan(spread["alignment"]["mean@1"])
