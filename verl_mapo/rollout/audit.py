# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Audits of finished rollouts: the same tokens up to the first look, other images from there on, and a new answer.

The reward manager judges the new answers as it judges the own one of the rollout. Trajectory level of CauAudit: every
observation is replaced; step level: the log-probability of the right answer at a fixed prefix.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from verl_mapo.names import AUDIT_PICTURE, AUDIT_TRUTH
from verl_mapo.rollout.audit_record import Audit, Swap
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.parser import END_OF_THINKING
from verl_mapo.rollout.row_pictures import Picture
from verl_mapo.rollout.state import LoopState
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.swaps import TRUTH, Shown, Swapper
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.tools.image_history import ToolImage

if TYPE_CHECKING:
    from verl_mapo.rollout.loop import VisualToolAgentLoop

logger = logging.getLogger(__name__)


def first_look(trajectory: Trajectory) -> tuple[int, int, list[int]] | None:
    """Where a rollout can be audited.

    Returns:
        position on the response axis of the first token after the first observation with an image, index of the first
        turn whose image that observation holds, and the places of its images among all that tools returned; None for a
        rollout that wrote no turn after a look.
    """
    groups = trajectory.assistant_turns
    begin = 0
    for group, following in zip(groups, groups[1:], strict=False):
        looks = [index for index, turn in enumerate(group, begin) if turn.status is TurnStatus.OK]
        if looks:
            position, end = following[0].span
            return (position, looks[0], [*range(len(looks))]) if end > position else None
        begin += len(group)
    return None


class Auditor:
    """Audits the rollouts of one agent loop.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: VisualToolAgentLoop):
        self.loop, self.settings = loop, loop.settings.audit

    async def audit(self, state: LoopState, sampling_params: dict[str, Any], row: dict[str, Any]) -> Audit | None:
        """Audit a finished rollout; None for one without a look.

        Args:
            state: the state in which it ended, which is not changed.
            sampling_params: as for the rollout.
            row: the fields of the data row, among them ``AUDIT_TRUTH`` and ``AUDIT_PICTURE`` of
                :mod:`verl_mapo.names`.
        """
        look = first_look(state.trajectory)
        if look is None:
            return None
        position, turn, places = look
        audit = Audit(turn, await self._evidence(state.prefix(position), row))
        other = await self._other(row[AUDIT_PICTURE], state.trajectory)
        for kind in self.settings.swaps:
            key = (row.get("data_source"), row.get("index"), row.get("session_id"), kind)
            swapper = Swapper(kind, Random(repr(key)), other)
            prefix = state.prefix(position)
            shown = _replace(prefix, swapper, places)
            if shown is None:
                continue
            again = {"session_id": f"{row.get('session_id')}/{kind}"} if kind == "repeat" else {}
            source = "" if shown.box is None else state.trajectory.images[state.trajectory.turns[turn].view.image]
            swap = Swap(kind, row[AUDIT_PICTURE] if kind == "other_image" else source, shown.box)
            swap.evidence = await self._evidence(prefix, row)
            await self._go_on(swap, replace(prefix, swapper=swapper), sampling_params, row | again)
            audit.swaps.append(swap)
        return audit

    async def _go_on(self, swap: Swap, prefix: LoopState, sampling_params: dict[str, Any], row: dict[str, Any]) -> None:
        """Let the model go on, and write what it does into the record."""
        before = len(prefix.trajectory.turns)
        found = (await self.loop.roll_out(sampling_params, prefix, **row)).trajectory
        swap.reply = found.turns[-1].text if len(found.turns) > before else ""
        swap.calls = sum(turn.called for turn in found.turns[before:])
        swap.end_reason, swap.error = found.end_reason, found.error

    async def _other(self, path: str, trajectory: Trajectory) -> ToolImage | None:
        """Another row's image; None where there is none, or it cannot be read."""
        if not path or path in trajectory.images:
            return None
        try:
            return await self.loop.images.open(Picture(path), 0, self.loop.resize_image)
        except UnreadableImage as error:
            logger.warning("An audit goes without another image: %s", error)
            return None

    async def _evidence(self, prefix: LoopState, row: dict[str, Any]) -> float | None:
        """Log-probability of the right answer at the start of the current turn, in nats; None if the engine has none.

        A thought that the chat template has opened is closed first.
        """
        loop, truth = self.loop, row[AUDIT_TRUTH]
        before, after = self.settings.answer.split(TRUTH)
        before = f"{END_OF_THINKING}\n\n{before}" if loop.thinking(prefix) else before
        told = loop.tokenizer(before + truth + after, add_special_tokens=False, return_offsets_mapping=True)
        ids = told["input_ids"]
        begin, end = len(before), len(before) + len(truth)
        counted = [start < end and stop > begin for start, stop in told["offset_mapping"]]
        if loop.max_model_len and len(prefix.token_ids) + len(ids) >= loop.max_model_len:
            return None
        output = await loop.server_manager.generate(
            request_id=prefix.request_id,
            prompt_ids=prefix.token_ids + ids,
            sampling_params={"max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0},
            image_data=prefix.history.images or None,
            mm_processor_kwargs=loop.mm_kwargs,
        )
        found = output.extra_fields.get("prompt_logprobs")
        if found is None:
            return None
        # verl leaves out the first token, of which nothing is known, and adds one value at the end.
        values = [value for [value] in found[-len(ids) - 1 : -1]]
        return float(sum(value for value, counts in zip(values, counted, strict=True) if counts))


def _replace(prefix: LoopState, swapper: Swapper, places: list[int]) -> Shown | None:
    """Replace the images of the last observation of a prefix; returns the first, or None if one cannot be replaced."""
    history = prefix.history
    begin = len(history.originals)
    replaced = []
    for place in places:
        shown = swapper.first(history.views[begin + place], history.images[begin + place], history)
        if shown is None:
            return None
        replaced.append(shown)
    for place, shown in zip(places, replaced, strict=True):
        history.images[begin + place] = shown.image
    return replaced[0]
