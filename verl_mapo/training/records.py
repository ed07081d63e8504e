# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The record of each rollout, one JSON line in the run folder: the question, the trajectory and the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from verl_mapo.names import RECORDS_NODE, TRAJECTORY
from verl_mapo.rollout.row_messages import text_form
from verl_mapo.settings import STRICT
from verl_mapo.training.method import Method
from verl_mapo.training.methods import METHODS
from verl_mapo.training.question_id import is_in_share, question_id
from verl_mapo.training.step_batch import StepBatch, to_list

RECORD_FIELDS = ("raw_prompt", "reward_model", "data_source", "index")
"""Fields of verl that records need, in addition to those that every step reads."""


@dataclass(frozen=True, config=STRICT)
class RecordSettings:
    """What is written to ``trainer.rollout_data_dir``.

    Attributes:
        share: share of the questions whose rollouts are recorded, all rollouts of a question or none. The question's
            identity decides, so it is the same questions at every step and in every validation; of few questions the
            share is only roughly met [ours].
        append: whether a validation appends the records of every batch to the file of its step as soon as the batch has
            ended, so that a run that only validates can go on with the questions that are missing. Otherwise it
            replaces the file at its end.
    """

    NODE: ClassVar[str] = RECORDS_NODE

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    append: bool = False

    def keeps(self, identity: str) -> bool:
        """Whether the rollouts of a question are recorded.

        Args:
            identity: hexadecimal digits of a hash, see :func:`verl_mapo.training.question_id.question_id`.
        """
        return is_in_share(identity, self.share)


def describe_rows(
    step: StepBatch, split: str, methods: Sequence[Method] = (), settings: RecordSettings | None = None
) -> list[dict[str, Any]]:
    """The records of a batch, padding left out, in the order of its keys.

    Args:
        step: a scored batch; in training with its advantages.
        split: ``train`` or ``val``.
        methods: the methods whose results are recorded; none in validation.
        settings: which questions are recorded; None for all.
    """
    settings = settings or RecordSettings()
    prompts, rewards, data_sources, indices = (to_list(step.fields[name]) for name in RECORD_FIELDS)
    ids: dict[str, str] = {}
    advantages = _mean_advantages(step) if split == "train" else [None] * len(step)
    seconds = _seconds(step)
    additions = [method.records(step) for method in methods]
    added_keys = [key for method in methods for key in method.record_keys]
    records = []
    for row, (key, kept) in enumerate(zip(step.batch.keys, step.not_padding.tolist(), strict=True)):
        if not kept:
            continue
        uid, session, _ = key.rsplit("_", 2)
        extra = step.extra_fields[row]
        truth = rewards[row]["ground_truth"]
        if uid not in ids:
            ids[uid] = question_id(data_sources[row], indices[row], truth, prompts[row])
        if not settings.keeps(ids[uid]):
            continue
        record = rollout_record(
            split,
            step.number,
            question_id=ids[uid],
            uid=uid,
            session=int(session),
            row={
                "data_source": data_sources[row],
                "index": indices[row],
                "raw_prompt": prompts[row],
                "reward_model": rewards[row],
            },
            outcome=float(step.outcome[row]),
            alignment=extra.get("reward_extra_info", {}).get("alignment"),
            trajectory=extra.get(TRAJECTORY),
            advantage=advantages[row],
            seconds=seconds[row],
        )
        record |= {key: None for key in added_keys if key not in record}
        for added in additions:
            record |= added.get(row, {})
        records.append(record)
    return records


def rollout_record(
    split: str,
    step: int,
    *,
    question_id: str,
    uid: str,
    session: int,
    row: Mapping[str, Any],
    outcome: float,
    alignment: float | None,
    trajectory: dict[str, Any] | None,
    advantage: float | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """One line of ``trajectories/<split>/<step>.jsonl``, with None for what the methods of this package add.

    Args:
        split: ``train`` or ``val``.
        step: the global step.
        question_id: see :func:`verl_mapo.training.question_id.question_id`.
        uid: what the rollouts of a prompt share.
        session: the number of the rollout within its prompt.
        row: the data row: ``data_source``, ``index``, ``raw_prompt`` and ``reward_model`` are read.
        outcome: the reward.
        alignment: the mean alignment of its visual turns; None without any.
        trajectory: :meth:`verl_mapo.rollout.trajectory.Trajectory.to_record`; None where the agent loop recorded none.
        advantage: mean advantage of its policy tokens; None where there is none.
        seconds: what it waited for the policy and for tools, beside other rollouts; None where it was not measured.
    """
    empty = dict.fromkeys(chain.from_iterable(method.record_keys for method in METHODS))
    return {
        **empty,
        "step": step,
        "split": split,
        "data_source": row["data_source"],
        "uid": uid,
        "session": session,
        "question_id": question_id,
        "index": row["index"],
        "question": text_form(row["raw_prompt"])[-1]["content"],
        "ground_truth": str(row["reward_model"]["ground_truth"]),
        "outcome": outcome,
        "advantage": advantage,
        "trajectory": trajectory,
        "alignment": alignment,
        "seconds": seconds,
    }


def _seconds(step: StepBatch) -> list[float | None]:
    if "metrics" not in step.fields.keys():
        return [None] * len(step)
    return [waited(metrics) for metrics in to_list(step.fields["metrics"])]


def waited(metrics: Mapping[str, Any]) -> float:
    """The seconds that a rollout waited for the policy and its tools, of verl's metrics of an agent loop."""
    return float(sum(metrics.get(name) or 0.0 for name in ("generate_sequences", "tool_calls")))


def _mean_advantages(step: StepBatch) -> list[float | None]:
    """Mean advantage of each row's policy tokens; None for a row without any."""
    rows = zip(step.rows("advantages"), step.rows("response_mask"), strict=True)
    policies = [advantages[mask.bool()] for advantages, mask in rows]
    return [float(policy.mean()) if len(policy) else None for policy in policies]
