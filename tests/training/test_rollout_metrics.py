# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of rollouts, against values counted by hand."""

from __future__ import annotations

import pytest
import torch
from support.fake_queue import scored_rows

from verl_mapo.columns import CONTINUATION
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.tools.coordinates import View
from verl_mapo.training.rollout_metrics import rollout_metrics, trajectory_metrics
from verl_mapo.training.step_batch import StepBatch


def look(region: tuple[int, int, int, int], tokens: int = 3, faults: tuple[LabelFault, ...] = ()) -> Turn:
    """A visual turn that was shown a region."""
    view = View(0, region, 0, (10, 10))
    return Turn((0, 3), "x", TurnStatus.OK, described=True, view=view, label_tokens=tokens, faults=[*faults])


def test_metrics_of_two_rollouts_are_means_over_rollouts_calls_and_visual_turns():
    answer = Turn((3, 5), "y")
    refused = Turn((0, 3), "x", TurnStatus.BAD_BOX, described=True, faults=[LabelFault.REFUSED])
    looks = Trajectory(["p"], [(20, 10)], [look((0, 0, 10, 10)), look((0, 0, 10, 5), 5), answer], EndReason.ANSWER)
    fails = Trajectory(["p"], [(20, 10)], [refused], EndReason.BAD_CALLS)
    silent = Trajectory(["p"], [(20, 10)], [answer], EndReason.ANSWER)
    metrics = trajectory_metrics([looks, fails, silent])
    assert metrics == pytest.approx(
        {
            "rollout_visual/tool_rate": 2 / 3,
            "rollout_visual/turns": 5 / 3,
            "rollout_visual/valid_call_rate": 2 / 3,
            "rollout_visual/lenient_rate": 0,
            "rollout_visual/crop_area": (0.5 + 0.25) / 2,
            "rollout_visual/label_tokens": 4,
            "rollout_visual/repeat_iou": 0.5,
            "rollout_visual/after_call/share": 0,
            "rollout_visual/unreadable_images/share": 0,
            "rollout_visual/errors/share": 0,
            "rollout_visual/empty/share": 0,
            "rollout_visual/repeating/share": 0,
            "rollout_visual/end/answer": 2 / 3,
            "rollout_visual/end/bad_calls": 1 / 3,
            "rollout_visual/bad_call/bad_box": 1 / 3,
            "rollout_visual/faults/refused": 1 / 3,
        }
    )


def test_lenient_calls_and_boxes_in_other_units_are_counted_and_logged(caplog):
    lenient = Turn((0, 3), "x", TurnStatus.OK, lenient=True, box_said=(1, 2, 3, 4))
    fractions = Turn((3, 5), "x", TurnStatus.BAD_BOX, box_said=(0, 0, 1, 1), other_units="normalized_1")
    metrics = trajectory_metrics([Trajectory(["p"], [(20, 10)], [lenient, fractions, lenient], EndReason.ANSWER)])
    assert metrics["rollout_visual/lenient_rate"] == pytest.approx(2 / 3)
    assert metrics["rollout_visual/other_units_rate"] == pytest.approx(1 / 3)
    assert "1 of 3 boxes" in caplog.text and "set visual_tool.coordinates=normalized_1" in caplog.text


def test_calls_of_one_turn_count_as_one_turn():
    second = Turn((3, 5), "y", TurnStatus.OK, continues=True)
    metrics = trajectory_metrics([Trajectory(["p"], [(9, 9)], [Turn((0, 3), "x", TurnStatus.OK), second])])
    assert metrics["rollout_visual/turns"] == 1


def test_share_of_unreadable_images_is_of_the_rollouts_with_images():
    answer = Turn((0, 3), "y")
    shown, missing = Trajectory(["p"], [(9, 9)], [answer], EndReason.ANSWER), Trajectory(["q"])
    missing.end_reason = EndReason.UNREADABLE_IMAGE
    text = Trajectory([], [], [answer], EndReason.ANSWER)
    metrics = trajectory_metrics([shown, text, text, missing, shown])
    assert metrics["rollout_visual/unreadable_images/share"] == pytest.approx(1 / 3)
    assert metrics["rollout_visual/end/unreadable_image"] == pytest.approx(1 / 5)
    assert "rollout_visual/unreadable_images/share" not in trajectory_metrics([text])


def test_empty_and_repeating_last_turns_are_counted_and_logged_in_one_sentence(caplog):
    texts = ["red", " \n", "no " * 200, "no " * 200]
    found = [Trajectory([], [], [Turn((0, 1), "x", TurnStatus.OK), Turn((1, 2), text)]) for text in texts]
    metrics = trajectory_metrics([*found, Trajectory(["q"], end_reason=EndReason.UNREADABLE_IMAGE)])
    assert metrics["rollout_visual/empty/share"] == 1 / 4 and metrics["rollout_visual/repeating/share"] == 1 / 2
    (sentence,) = caplog.messages
    assert "empty in 25% and the same again and again in 50% (such as 'no no" in sentence
    caplog.clear()
    trajectory_metrics([found[1], *[found[0]] * 30])
    assert not caplog.messages


def test_mean_over_nothing_is_left_out():
    assert trajectory_metrics([]) == {}


def test_continuations_padding_and_other_agent_loops_are_not_counted(queue):
    answer = Trajectory([], [], [Turn((0, 3), "y")], EndReason.ANSWER)
    queue.fields.update(scored_rows([torch.ones(3)] * 4, [0.0] * 4, [answer, answer, None, answer]))
    batch = queue.batch([f"a_{row}_0" for row in range(4)], is_padding=[False, False, False, True])
    step = StepBatch.fetch(batch, number=1)
    step.continuation = torch.tensor([0, CONTINUATION, 0, 0]) == CONTINUATION
    assert rollout_metrics(step)["rollout_visual/turns"] == 1
    assert step.original.tolist() == [True, False, True, False]


def test_share_of_undecided_answers_is_of_the_original_rollouts(queue):
    answer = Trajectory([], [], [Turn((0, 3), "y")], EndReason.ANSWER)
    shares = []
    for terms in ([{}] * 3, [{"undecided": undecided} for undecided in (1.0, 0.0, 1.0)]):
        rows = scored_rows([torch.ones(3)] * 3, [0.0] * 3, [answer] * 3, reward_extra_info=terms)
        queue.fields.update(rows)
        batch = queue.batch([f"a_{row}_0" for row in range(3)], is_padding=[False, False, True])
        shares.append(rollout_metrics(StepBatch.fetch(batch, number=1)).get("reward/undecided"))
    assert shares == [None, 0.5], "the share is left out where no check counts, and padding is not counted"


def test_seconds_are_those_of_original_rollouts(queue):
    answer = Trajectory([], [], [Turn((0, 3), "y")], EndReason.ANSWER)
    queue.fields.update(scored_rows([torch.ones(3)] * 3, [0.0] * 3, [answer] * 3))
    waited = [{"generate_sequences": 1.0, "tool_calls": 0.5}, {"generate_sequences": 3.0}, {"generate_sequences": 9.0}]
    queue.fields["metrics"] = waited
    step = StepBatch.fetch(queue.batch([f"a_{row}_0" for row in range(3)], is_padding=[False, False, True]), number=1)
    seconds = {name: value for name, value in rollout_metrics(step).items() if "/seconds/" in name}
    assert seconds == {
        "rollout_visual/seconds/generate_sequences/mean": 2.0,
        "rollout_visual/seconds/generate_sequences/max": 3.0,
        "rollout_visual/seconds/tool_calls/mean": 0.5,
        "rollout_visual/seconds/tool_calls/max": 0.5,
    }
