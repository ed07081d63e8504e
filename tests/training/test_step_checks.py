# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A step with too many errors or without a token to train on stops the run, and says why."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fake_queue import scored_rows
from verl.trainer.ppo.v1 import PPOTrainer

from verl_mapo.columns import TURN_COLUMNS
from verl_mapo.names import ESTIMATORS
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.run_folder import read_records
from verl_mapo.training.step_batch import StepBatch
from verl_mapo.training.step_checks import check_lost, check_unreadable

ALLOW_ALL = "visual_tool.max_unreadable=1"


def missing(*images: str, node: str = "gpu-1 (10.0.0.1)") -> Trajectory:
    sentence = f"{images[0]}: No such file or directory"
    return Trajectory([*images], end_reason=EndReason.UNREADABLE_IMAGE, node=node, unreadable=sentence)


def answered(node: str = "gpu-0 (10.0.0.0)") -> Trajectory:
    return Trajectory(["/a/1.png"], [(9, 9)], [Turn((0, 1), "y")], EndReason.ANSWER, node=node)


def run(queue, make_trainer, trajectories: list[Trajectory | None], trained: int = 0, *overrides: str) -> None:
    """A step of rollouts, of which the last ``trained`` have a token in the loss."""
    count = len(trajectories)
    masks = [torch.tensor([int(row >= count - trained)]) for row in range(count)]
    queue.fields.update(scored_rows(masks, [0.0] * count, trajectories))
    queue.fields["uid"] = ["a"] * count
    columns = [Trajectory([]).columns(2)] * count
    queue.fields.update({column.name: torch.stack([row[column.name] for row in columns]) for column in TURN_COLUMNS})
    batch = queue.batch([f"a_{row}_0" for row in range(count)], is_padding=[False] * count)
    make_trainer(*overrides)._compute_advantage(batch, {})


@pytest.mark.parametrize("method", ESTIMATORS)
def test_step_in_which_every_image_is_missing_stops_the_run_with_the_folders(queue, make_trainer, method):
    rows = [missing("/data/train/1.png"), missing("file:///data/train/2.png"), missing("more/3.png", "more/4.png")]
    with pytest.raises(RuntimeError) as stopped:
        run(queue, make_trainer, rows, 0, f"method={method}", ALLOW_ALL)
    sentence = str(stopped.value)
    assert "step 7" in sentence and "3 of 3 ended as unreadable_image" in sentence
    assert "in /data/train, more:" in sentence and "data.train_files" in sentence
    assert "3 of 3 on node gpu-1 (10.0.0.1). The first is /data/train/1.png: No such file" in sentence


def test_rollout_correction_does_not_hide_the_reason(queue, make_trainer):
    """verl's own message is that the mask must contain at least one valid token."""
    queue.fields["rollout_log_probs"] = torch.zeros(2, 1)
    with pytest.raises(RuntimeError, match="unreadable_image"):
        correction = "+algorithm.rollout_correction.rollout_is=token"
        run(queue, make_trainer, [missing("/a/1.png")] * 2, 0, correction, ALLOW_ALL)


def test_only_a_few_folders_are_named_and_data_uris_are_not(queue, make_trainer):
    rows = [missing(f"/folder{number}/x.png") for number in range(5)] + [
        missing("data:image/png;base64,AAAA", "", "sha256:AAAA")
    ] * 3
    with pytest.raises(RuntimeError) as stopped:
        run(queue, make_trainer, rows, 0, ALLOW_ALL)
    sentence = str(stopped.value)
    assert "in the data itself, /folder0, /folder1 and 3 more folders:" in sentence and "AAAA" not in sentence


def test_step_in_which_the_model_wrote_nothing_stops_the_run_too(queue, make_trainer):
    rows = [Trajectory(["/a/1.png"], [(9, 9)], [Turn((0, 0), "")], EndReason.EMPTY)] * 2
    with pytest.raises(RuntimeError, match=r"2 of 2 ended as empty \(The model wrote nothing\)\.$"):
        run(queue, make_trainer, [*rows])


def test_step_with_one_token_goes_on(queue, make_trainer):
    run(queue, make_trainer, [missing("/b/1.png"), missing("/b/1.png"), answered()], 1, ALLOW_ALL)
    assert torch.cat(queue.fields["advantages"].unbind()).eq(0).all()


def test_folder_that_is_missing_on_one_node_stops_the_run_with_the_node_and_the_first_image(queue, make_trainer):
    """Without the check, the node's eighth of every batch would end before its first turn, and the run would go on."""
    rows = [missing(f"/data/{number}.png", node="gpu-7 (10.0.0.7)") for number in range(2)]
    rows += [answered(f"gpu-{number % 7} (10.0.0.{number % 7})") for number in range(14)]
    with pytest.raises(RuntimeError) as stopped:
        run(queue, make_trainer, rows, 14)
    assert str(stopped.value) == (
        "2 of 16 rollouts of step 7 ended before their first turn, because their images cannot be shown, which is more "
        "than visual_tool.max_unreadable=0.01 allows. These are 2 of 2 on node gpu-7 (10.0.0.7), among 8 nodes. The "
        "first is /data/0.png: No such file or directory. Their images are in /data: make the folder readable on every "
        "node (verl-mapo doctor looks on each of them), or correct the rows of data.train_files. The log names each of "
        "them and what is wrong with it. If such rows have to be expected, set visual_tool.max_unreadable=0.13."
    )


@given(rollouts=st.integers(1, 400), share=st.sampled_from([0, 0.01, 0.125, 0.5, 1]), data=st.data())
def test_run_stops_exactly_above_the_share_and_goes_on_with_the_share_that_the_message_names(rollouts, share, data):
    lost = data.draw(st.integers(0, rollouts))
    trajectories = [missing("/a.png")] * lost + [answered()] * (rollouts - lost)
    padded = [*trajectories, missing("/padding.png"), missing("/continuation.png")]
    original = torch.tensor([True] * rollouts + [False] * 2)
    step = SimpleNamespace(trajectories=padded, original=original)
    try:
        check_unreadable(step, share, "step 1", "data.train_files")
        assert lost <= share * rollouts
    except RuntimeError as stopped:
        assert lost > share * rollouts
        named = re.search(r"set visual_tool\.max_unreadable=([0-9.]+)\.$", str(stopped))
        check_unreadable(step, float(named[1]), "step 1", "data.train_files")


def test_only_a_few_nodes_are_named_and_rollouts_of_other_agent_loops_have_none(queue, make_trainer):
    rows = [missing("/a/1.png", node=f"gpu-{number}") for number in range(5)] + [missing("/a/1.png", node="gpu-4")]
    with pytest.raises(RuntimeError, match=r"2 of 2 on node gpu-4, 1 of 1 on node gpu-0, .* and 2 more nodes, among 5"):
        run(queue, make_trainer, [*rows, None], 1)


def test_rows_whose_messages_cannot_be_shown_name_no_folder(queue, make_trainer):
    row = Trajectory([], end_reason=EndReason.UNREADABLE_IMAGE, node="gpu-1", unreadable="its prompt is no list")
    with pytest.raises(RuntimeError, match=r"gpu-1\. The first is its prompt is no list\. Correct the rows of data\."):
        run(queue, make_trainer, [row] * 2)


def test_unreadable_images_of_a_validation_stop_the_run_before_they_lower_its_accuracy(queue, make_trainer, tmp_path):
    """verl counts such a rollout as wrong."""
    rows = [missing("/held_out/1.png"), answered()]
    queue.fields.update(scored_rows([torch.tensor([0]), torch.tensor([1])], [0.0, 1.0], rows))
    batch = queue.batch(["a_0_0", "b_0_0"], is_padding=[False] * 2)
    stock = type("Stock", (PPOTrainer,), {"_validate": lambda self: self.replay_buffer.sample()})
    buffer = SimpleNamespace(sample=lambda: (batch, {}))
    trainer = make_trainer(f"trainer.rollout_data_dir={tmp_path}", stock=stock, replay_buffer=buffer)
    with pytest.raises(
        RuntimeError, match=r"1 of 2 rollouts of the validation after step 7 .* rows of data\.val_files"
    ):
        trainer._validate()


@pytest.mark.parametrize("append", [True, False])
def test_a_validation_that_may_go_on_records_each_batch_when_it_has_ended(
    queue, make_trainer, tmp_path, monkeypatch, append
):
    queue.fields.update(scored_rows([torch.tensor([0])], [0.0], [answered()]))
    batch = queue.batch(["a_0_0"], is_padding=[False])

    def validate(self):
        self.replay_buffer.sample()
        raise KeyboardInterrupt("killed in the second batch")

    monkeypatch.setattr("verl_mapo.training.validation.describe_rows", lambda *_, **__: [{"question_id": "q"}])
    stock = type("Stock", (PPOTrainer,), {"_validate": validate})
    trainer = make_trainer(
        f"trainer.rollout_data_dir={tmp_path}",
        f"records.append={append}",
        stock=stock,
        replay_buffer=SimpleNamespace(sample=lambda: (batch, {})),
    )
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            trainer._validate()
    recorded = [*read_records(tmp_path / "val" / "7.jsonl")]
    assert recorded == ([{"question_id": "q"}] * 2 if append else [])


def failed(tool: str) -> Trajectory:
    return Trajectory([], error=f"The tool {tool} raised KeyError: 'x'.", end_reason=EndReason.TOOL_ERROR)


def test_more_errors_than_the_run_allows_stop_it_with_the_first_one(queue, make_trainer):
    answer = Trajectory([], [], [Turn((0, 1), "y")], EndReason.ANSWER)
    unjudged = Trajectory([], [], [Turn((0, 1), "y")], EndReason.ANSWER, error="The answer check c raised OSError.")
    rows = [failed("zoom"), unjudged, *[answer] * 8]
    run(queue, make_trainer, rows, 8, "visual_tool.max_errors=0.2")
    with pytest.raises(RuntimeError) as stopped:
        run(queue, make_trainer, rows, 8)
    sentence = str(stopped.value)
    assert (
        sentence.startswith("2 of 10 rollouts of step 7 have no outcome") and "visual_tool.max_errors=0.1" in sentence
    )
    assert "The first error is: The tool zoom raised KeyError: 'x'." in sentence
    with pytest.raises(RuntimeError, match=r"The first error is: The answer check c raised OSError\. Correct"):
        run(queue, make_trainer, [answer, unjudged], 1)


@pytest.mark.parametrize("method", ["mapo", "mapo_by_turn"])
def test_rollout_without_an_outcome_changes_no_other_advantage_and_no_mean(queue, make_trainer, method):
    """Its outcome of 0 stands for nothing: removing the row changes nothing but the counter of errors."""
    overrides = ["visual_tool.max_errors=1", *(["algorithm.mapo.credit=turn"] if method == "mapo_by_turn" else [])]
    turns = [Turn((0, 1), "x", TurnStatus.OK, described=True, score=score) for score in (0.1, 0.5, 0.9)]
    trajectories = [Trajectory([], [], [turn], EndReason.ANSWER) for turn in turns]

    def step(rows: list[Trajectory], outcomes: list[float]) -> tuple[list[torch.Tensor], dict]:
        masks = [torch.full((2,), int(not trajectory.error)) for trajectory in rows]
        queue.fields.clear()
        queue.fields.update(scored_rows(masks, outcomes, rows))
        queue.fields["uid"] = ["a"] * len(rows)
        columns = [trajectory.columns(2) for trajectory in rows]
        queue.fields.update(
            {column.name: torch.stack([row[column.name] for row in columns]) for column in TURN_COLUMNS}
        )
        batch, metrics = queue.batch([f"a_{row}_0" for row in range(len(rows))]), {}
        make_trainer(*overrides)._compute_advantage(batch, metrics)
        return list(queue.fields["advantages"].unbind()), metrics

    alone, metrics = step(trajectories, [1.0, 0.0, 0.0])
    error = Trajectory([], [], [turns[2]], EndReason.TOOL_ERROR, error="The tool zoom raised KeyError.")
    (lost, *rest), beside = step([error, *trajectories], [0.0, 1.0, 0.0, 0.0])
    assert not lost.any() and all(torch.equal(*pair) for pair in zip(alone, rest, strict=True))
    means = [name for name in metrics if name.startswith("mapo/")]
    assert means and {name: beside[name] for name in means} == pytest.approx({name: metrics[name] for name in means})
    assert (metrics["rollout_visual/errors/share"], beside["rollout_visual/errors/share"]) == (0, 0.25)


@pytest.mark.parametrize(("lost", "stops"), [(0, False), (1, False), (2, True), (9, True)])
def test_lost_rollouts_are_logged_and_more_than_a_tenth_stop_the_run(queue, caplog, lost, stops):
    """Rows of padding, a second row of a session and continuations are no further rollouts."""
    keys = [f"{uid}_{session}_0" for uid in "ab" for session in range(5)][lost:] + ["b_4_1", "b_5_0", "b_6_0"]
    padding = [False] * len(keys) + [True] * 2
    keys += ["pad_0_0", "pad_1_0"]
    queue.fields.update(scored_rows([torch.ones(1)] * len(keys), [0.0] * len(keys), [None] * len(keys)))
    step = StepBatch.fetch(queue.batch(keys, is_padding=padding), 7)
    if stops:
        with pytest.raises(RuntimeError, match=f"^{lost} of 10 rollouts of step 7 are lost: their agent loops"):
            check_lost(step, 2, 5, 0.1)
        return
    assert check_lost(step, 2, 5, 0.1) == {"rollout_visual/lost/share": lost / 10}
    assert ("verl-mapo: 1 of 10 rollouts of step 7 are lost" in caplog.text) is bool(lost)
