# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A step without a token to train on stops the run, and says why."""

from __future__ import annotations

import pytest
import torch
from support.fake_queue import scored_rows

from verl_mapo.columns import TURN_COLUMNS
from verl_mapo.names import ESTIMATORS
from verl_mapo.rollout.statuses import EndReason
from verl_mapo.rollout.trajectory import Trajectory, Turn


def missing(*images: str) -> Trajectory:
    return Trajectory([*images], end_reason=EndReason.UNREADABLE_IMAGE)


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
        run(queue, make_trainer, rows, 0, f"method={method}")
    sentence = str(stopped.value)
    assert "step 7" in sentence and "3 of 3 ended as unreadable_image" in sentence
    assert "in /data/train, more:" in sentence and "data.train_files" in sentence


def test_rollout_correction_does_not_hide_the_reason(queue, make_trainer):
    """verl's own message is that the mask must contain at least one valid token."""
    queue.fields["rollout_log_probs"] = torch.zeros(2, 1)
    with pytest.raises(RuntimeError, match="unreadable_image"):
        run(queue, make_trainer, [missing("/a/1.png")] * 2, 0, "+algorithm.rollout_correction.rollout_is=token")


def test_only_a_few_folders_are_named_and_data_uris_are_not(queue, make_trainer):
    rows = [missing(f"/folder{number}/x.png") for number in range(5)] + [
        missing("data:image/png;base64,AAAA", "", "sha256:AAAA")
    ] * 3
    with pytest.raises(RuntimeError) as stopped:
        run(queue, make_trainer, rows)
    sentence = str(stopped.value)
    assert "in the data itself, /folder0, /folder1 and 3 more folders:" in sentence and "AAAA" not in sentence


def test_step_in_which_the_model_wrote_nothing_stops_the_run_too(queue, make_trainer):
    rows = [Trajectory(["/a/1.png"], [(9, 9)], [Turn((0, 0), "")], EndReason.EMPTY)] * 2
    with pytest.raises(RuntimeError, match=r"2 of 2 ended as empty \(The model wrote nothing\)\.$"):
        run(queue, make_trainer, [*rows])


def test_step_with_one_token_goes_on(queue, make_trainer):
    answer = Trajectory(["/a/1.png"], [(9, 9)], [Turn((0, 1), "y")], EndReason.ANSWER)
    run(queue, make_trainer, [missing("/b/1.png"), missing("/b/1.png"), answer], 1)
    assert torch.cat(queue.fields["advantages"].unbind()).eq(0).all()
