# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/dip.py: kinds of faults, places in a demonstration, and what the shipped model expects there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support.script_modules import script_module

from verl_mapo.report.load import RunData
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.toy.shipped import MODELS
from verl_mapo.toy.visual_search import VisualSearch

dip = script_module("dip")

CALL = '<tool_call>\n{"name": "zoom"}\n</tool_call>'


@pytest.mark.parametrize(
    "text, status, kind",
    [
        (CALL, TurnStatus.OK, None),
        ("<answer>A</answer>", TurnStatus.ANSWER, None),
        ("4]}}\n</tool_call>", TurnStatus.ANSWER, "without its opening tag"),
        ('<tool_call>\n{"name<tool_call>"}\n</tool_call>', TurnStatus.NO_JSON, "a tag inside the call"),
        ('<tool_call>\n{"name": "A</answer>', TurnStatus.NO_JSON, "an answer or a thought inside the call"),
        ('<tool_call>\n{"name": ', TurnStatus.NO_JSON, "not closed"),
        (CALL, TurnStatus.BAD_BOX, "bad_box"),
        (CALL + CALL, TurnStatus.TOO_MANY_CALLS, "too_many_calls"),
    ],
)
def test_faults_are_told_apart_by_their_text(text, status, kind):
    assert dip.fault_of(Turn((0, 1), text, status)) == kind


def run_of(turns: list[Turn], metrics: dict[str, float]) -> RunData:
    """A run of one step whose only rollout has these turns."""
    run = RunData(Path("run"), {}, OmegaConf.create({}), {1: metrics}, {"train": {1: Path("1")}, "val": {}})
    run.rollouts = lambda step, split: [type("Record", (), {"trajectory": Trajectory([], [], turns)})()]
    return run


def test_the_table_divides_faults_by_calls():
    turns = [Turn((0, 1), CALL, TurnStatus.OK)] * 2
    turns += [Turn((0, 1), "<tool_call>", TurnStatus.NO_JSON), Turn((0, 1), "</tool_call>", TurnStatus.ANSWER)]
    head, _, row = dip.records_table(run_of(turns, {"critic/score/mean": 0.5, "actor/entropy": 0.1})).splitlines()
    assert head == "| step | accuracy | tool rate | valid calls | entropy | not closed | without its opening tag |"
    assert row == "| 1 | 50 |  |  | 0.100 | 25.0 | 25.0 |"


def test_each_token_of_a_demonstration_has_its_place():
    tokens = ["<im>", "<think>", "red", "<tool_call>", "{", "6", "}", "</tool_call>", "crop", "<answer>", "K"]
    trained = [False, *[True] * 7, False, True, True]
    assert dip.places(trained, tokens) == [
        None,
        "first token",
        "thought",
        "opening tag",
        "rest of the call",
        "numbers in the call",
        "rest of the call",
        "rest of the call",
        None,
        "after the crop",
        "after the crop",
    ]


def test_expectations_are_those_computed_by_hand():
    """Two tokens: the first position gives the tag 3/4, the second gives both 1/2."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [9.0, 9.0]])
    found = dip.read(logits, [0, 1, 0], [None, "opening tag", "rest of the call"], tag=1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["opening tag"].tolist() == pytest.approx([0.75, 0.75, entropy])
    assert found["rest of the call"].tolist() == pytest.approx([0.5, 0.5, math.log(2)])
    assert list(found) == ["opening tag", "rest of the call"]


def test_the_shipped_model_opens_a_call_where_it_belongs_and_nowhere_else():
    model = MODELS / "qwen2_5_vl-full"
    scenes = [VisualSearch().scene(0, "evaluation", number) for number in range(2)]
    table = dip.models_table({0: model}, scenes)
    assert table.splitlines()[0] == f"| step | {' | '.join(dip.PLACES)} |"
    cells = dict(zip(dip.PLACES, table.splitlines()[2].strip("| ").split(" | ")[1:], strict=True))
    tag = {place: float(cell.split(",")[0]) for place, cell in cells.items()}
    assert tag["opening tag"] > 0.9 and max(value for place, value in tag.items() if place != "opening tag") < 0.05


def test_the_models_of_a_run_are_its_own_and_those_of_its_checkpoints(tmp_path):
    saved = tmp_path / "checkpoints" / "global_step_12" / "actor" / "huggingface"
    saved.mkdir(parents=True)
    (saved / "model.safetensors").touch()
    (tmp_path / "checkpoints/global_step_14/actor/huggingface").mkdir(parents=True)
    run = run_of([], {})
    run.path, run.config = tmp_path, OmegaConf.create({"actor_rollout_ref": {"model": {"path": "start"}}})
    assert dip.models_of(run) == {0: Path("start"), 12: saved}
