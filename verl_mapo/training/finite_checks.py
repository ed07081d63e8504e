# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards, advantages, losses and gradients are finite numbers, or the run stops with the batch that made them.

verl leaves out an optimizer step whose gradient is not finite and goes on; Megatron does so in float16 alone. Its
metrics say ``nan``, and nothing says which rollouts it was.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from transfer_queue import KVBatchMeta

from verl_mapo.run_folder import write_whole
from verl_mapo.training.records import RECORD_FIELDS, describe_rows
from verl_mapo.training.step_batch import StepBatch

logger = logging.getLogger(__name__)

TOKEN_FIELDS = (
    "responses",
    "response_mask",
    "loss_mask",
    "rm_scores",
    "old_log_probs",
    "rollout_log_probs",
    "ref_log_prob",
    "advantages",
    "returns",
)
"""Fields with a value for each response token, of which a batch that is dumped has those that the run has."""

_UPDATE = re.compile(r"(actor|critic)/(grad_norm|(\w+_)?loss)")
"""Metrics of an update that are finite numbers in a sound one."""

_MOST_NAMED = 3
"""Number of rows that a message names."""


class FiniteChecks:
    """The checks of one run.

    Args:
        folder: where a batch is dumped.
        most_in_a_row: number of updates in a row that may not be finite; the next one stops the run.
    """

    def __init__(self, folder: Path, most_in_a_row: int):
        self.folder = folder
        self.most_in_a_row = most_in_a_row
        self.in_a_row = 0

    def check_advantages(self, step: StepBatch, metrics: Mapping[str, Any]) -> None:
        """Stop a run before an update with rewards or advantages that are not finite.

        Args:
            step: a batch with its advantages.
            metrics: of the step so far.

        Raises:
            RuntimeError: with the first such rows and the path of the dump.
        """
        values = step.rows("advantages")
        if torch.cat([step.outcome, *values]).isfinite().all():
            return
        finite = torch.tensor([bool(row.isfinite().all()) for row in values]) & step.outcome.isfinite()
        rows = (~finite).nonzero().flatten().tolist()
        named = ", ".join(f"{step.batch.keys[row]} (reward {float(step.outcome[row])})" for row in rows[:_MOST_NAMED])
        raise RuntimeError(
            f"The rewards or advantages of {len(rows)} of {len(step)} rollouts of step {step.number} are not finite "
            f"numbers: {named}{' and others' if len(rows) > _MOST_NAMED else ''}. Nothing was updated. "
            f"{self.dump(step.batch, step.number, metrics)} A reward of nan is the reward function's; with finite "
            "rewards it is the estimator of algorithm.adv_estimator."
        )

    def check_update(self, batch: KVBatchMeta, number: int, metrics: Mapping[str, Any]) -> None:
        """Stop a run after an update whose loss or gradient is not finite, before its weights are saved.

        Args:
            batch: the batch of the update, which is still in the queue.
            number: the global step.
            metrics: of the step, after the update.

        Raises:
            RuntimeError: with the metrics, the rows that could be the reason and the path of the dump.
        """
        bad = {name: value for name, value in metrics.items() if _UPDATE.fullmatch(name) and not math.isfinite(value)}
        if not bad:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        values = ", ".join(f"{name}={value}" for name, value in bad.items())
        sentence = f"The update of step {number} had {values}."
        if self.in_a_row <= self.most_in_a_row:
            logger.warning(
                "verl-mapo: %s visual_tool.max_nonfinite_updates=%d allows it.", sentence, self.most_in_a_row
            )
            return
        raise RuntimeError(
            f"{sentence} {self.dump(batch, number, metrics)} The weights of this step are not saved, so the same "
            "command does it again. If it is the same again, lower actor_rollout_ref.actor.optim.lr; to go on "
            f"after such steps, set visual_tool.max_nonfinite_updates={self.in_a_row}."
        )

    def dump(self, batch: KVBatchMeta, number: int, metrics: Mapping[str, Any]) -> str:
        """Write a batch to ``step_<number>.json`` and ``.safetensors``; returns sentences that say what is where.

        Both files have the same rows. A row of the json file has its key, its record without pixels, the names of the
        fields in which a value is not finite, and ``tokens``, its half-open range in every tensor of the other file.

        Args:
            batch: a batch that is in the queue.
            number: the global step.
            metrics: of the step.
        """
        try:
            return self._dump(batch, number, metrics)
        except Exception as error:  # the reason for the dump is more important than the dump
            logger.exception("The batch could not be dumped.")
            return f"The batch could not be dumped in {self.folder}: {type(error).__name__}: {error}."

    def _dump(self, batch: KVBatchMeta, number: int, metrics: Mapping[str, Any]) -> str:
        step = StepBatch.fetch(batch, number, fields=(*RECORD_FIELDS, *TOKEN_FIELDS))
        tensors = {name: step.fields[name].unbind() for name in TOKEN_FIELDS if name in step.fields.keys()}
        ends = [0, *accumulate(map(len, tensors["response_mask"]))]
        records = iter(describe_rows(step, "train"))
        rows = []
        for row, (key, kept) in enumerate(zip(batch.keys, step.not_padding.tolist(), strict=True)):
            bad = [name for name, values in tensors.items() if not values[row].isfinite().all()]
            place = {"key": key, "padding": not kept, "tokens": ends[row : row + 2], "not_finite": bad}
            rows.append(place | (next(records) if kept else {}))
        about = {"step": number, "metrics": _plain(metrics), "rows": _plain(rows)}
        file = self.folder / f"step_{number}.json"
        write_whole(
            file.with_suffix(".safetensors"), save({name: torch.cat(values) for name, values in tensors.items()})
        )
        write_whole(file, json.dumps(about, indent=1, allow_nan=False))
        found = [row for row in rows if row["not_finite"]]
        named = ", ".join(f"{row['key']} ({', '.join(row['not_finite'])})" for row in found[:_MOST_NAMED])
        where = f"The batch is in {file} and {file.stem}.safetensors."
        if not found:
            return f"{where} No value in it is other than finite, so the model's own numbers overflowed in the update."
        return f"{where} {len(found)} of its rows have values that are not finite: {named}."


def _plain(value: Any) -> Any:
    """A value of plain JSON; numbers that JSON lacks become texts, and pixels are left out."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if name != "pixels"}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bool | str | None):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return (int(number) if isinstance(value, int) else number) if math.isfinite(number) else str(number)
