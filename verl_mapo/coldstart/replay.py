# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Replays assistant turns that are given as texts through the agent loop, so that SFT trains on the tokens of RL.

A server that returns the tokens of the given texts takes the place of the engine. All else is the loop's own: prompt,
parser, tools, crops, observations, limits and features. What the loop does not do as the texts say is a
:class:`Finding`, never an exception.
"""

from __future__ import annotations

import asyncio
import copy
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.workers.rollout.replica import TokenOutput

from verl_mapo.coldstart.box_units import UnknownUnits, respelled, units_of
from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.loop import VisualToolAgentLoop
from verl_mapo.rollout.output import VisualToolOutput
from verl_mapo.rollout.parser import own_part
from verl_mapo.rollout.row_dataset import RowDataset
from verl_mapo.rollout.statuses import EndReason, Explained, TurnStatus
from verl_mapo.rollout.tag_tokens import opens_thought
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.tools.zoom import Zoom

_LONGEST_DETAIL = 160
"""Characters of a text that a finding quotes."""


class ReplayFault(Explained):
    """What a replay finds, beside the end reasons of a rollout."""

    UNREADABLE_ROW = "unreadable_row", "verl's data set cannot read the row."
    NO_TURNS = "no_turns", "The row has no assistant turns, or one of them is empty or no text."
    UNKNOWN_UNITS = "unknown_units", "The row names units of its boxes that are not known."
    CHANGED_TEXT = "changed_text", "The loop does not read a turn as it is written."
    EARLY_ANSWER = "early_answer", "A turn holds no call that the loop reads, and further turns follow it."
    UNFINISHED = "unfinished", "The last turn calls a tool, so the row has no answer."
    REFUSED_CALL = "refused_call", "The loop refuses a call, and the model is told why."


@dataclass(frozen=True)
class Finding:
    """One difference between the texts of a row and what the loop does with them.

    Attributes:
        reason: a :class:`ReplayFault`; an :class:`~verl_mapo.rollout.statuses.EndReason` if the loop ended before the
            texts did, or without an answer.
        turn: index of the turn, from 0; None if there is none.
        detail: what is meant, for a person who looks at the row.
    """

    reason: ReplayFault | EndReason
    turn: int | None
    detail: str


@dataclass(frozen=True)
class Replay:
    """One replayed row.

    Attributes:
        output: the loop's output: tokens, mask, images and features as in a rollout that sampled the same texts.
        findings: in the order of the turns; empty if the loop does what the texts say.
    """

    output: VisualToolOutput
    findings: list[Finding]

    @property
    def trajectory(self) -> Trajectory:
        """The record of the rollout."""
        return self.output.extra_fields[TRAJECTORY]

    @property
    def token_ids(self) -> list[int]:
        """Prompt and response."""
        return self.output.prompt_ids + self.output.response_ids

    @property
    def mask(self) -> list[int]:
        """1 on the tokens that the model wrote, as long as :attr:`token_ids`."""
        return [0] * len(self.output.prompt_ids) + self.output.response_mask

    @property
    def features(self) -> dict[str, Tensor]:
        """The features and position ids, see :attr:`VisualToolOutput.features`."""
        return self.output.features


class TextServer:
    """Returns the tokens of given texts, in order, as an engine that has sampled these texts returns them.

    A turn ends with the end token. It is cut after a stop token and at ``max_tokens``; if the loop goes on with the
    same turn, it gets the rest. When all texts are used up, an empty turn is returned, which ends a rollout.

    Args:
        tokenizer: the model's tokenizer.
        turns: the text of each assistant turn, without end token.

    Attributes:
        written: the texts that were asked for, as they were tokenised, see :func:`own_part`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, turns: Sequence[str]):
        self.tokenizer = tokenizer
        self.turns = turns
        self.written: list[str] = []
        self._context: list[int] = []
        self._rest: list[int] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        """verl's interface of a server, see ``LLMServerClient.generate``."""
        if not self._rest or prompt_ids != self._context:
            self._rest = self._next_turn(prompt_ids)
        stops = {self.tokenizer.eos_token_id, *(sampling_params.get("stop_token_ids") or ())}
        stop = next((place + 1 for place, token in enumerate(self._rest) if token in stops), len(self._rest))
        stop = min(stop, sampling_params["max_tokens"])
        given, self._rest = self._rest[:stop], self._rest[stop:]
        self._context = [*prompt_ids, *given]
        return TokenOutput(token_ids=given, log_probs=[0.0] * len(given))

    def _next_turn(self, prompt_ids: list[int]) -> list[int]:
        if len(self.written) == len(self.turns):
            return []
        self.written.append(own_part(self.turns[len(self.written)], opens_thought(self.tokenizer, prompt_ids)))
        return [*self.tokenizer.encode(self.written[-1], add_special_tokens=False), self.tokenizer.eos_token_id]


class Replayer:
    """Replays rows for one model and one configuration.

    Args:
        config: a whole configuration of RL, of which the loop reads ``visual_tool``, ``data`` and
            ``actor_rollout_ref``; the configuration ``sft`` has the same nodes.
        tokenizer: the model's tokenizer.
        processor: the model's processor.
        model_type: the model type, such as ``qwen2_5_vl``; None for that of the processor.

    Raises:
        ConfigError: a setting of the loop is invalid.
    """

    def __init__(self, config: DictConfig, tokenizer: Any, processor: Any, model_type: str | None = None):
        self.tokenizer, self.processor = tokenizer, processor
        self._loop = VisualToolAgentLoop(
            trainer_config=DictConfigWrap(config),
            server_manager=None,
            tokenizer=tokenizer,
            processor=processor,
            dataset_cls=RowDataset,
            data_config=DictConfigWrap(config.data),
            hf_model_type=model_type or processor.config.model_type,
        )

    def replay(
        self, raw_prompt: list[dict[str, Any]], turns: Sequence[str], extra_info: Mapping[str, Any] | None = None
    ) -> Replay:
        """Replay one row; not inside a running event loop.

        Args:
            raw_prompt: the messages of the row with its images, as :class:`RowDataset` returns them.
            turns: the text of each assistant turn, in order, as the model writes it, without end token.
            extra_info: of the row; it tells the units of the boxes in the turns, where they are not the model's, see
                :mod:`verl_mapo.coldstart.box_units`.
        """
        return asyncio.run(self.replay_async(raw_prompt, turns, extra_info))

    async def replay_async(
        self, raw_prompt: list[dict[str, Any]], turns: Sequence[str], extra_info: Mapping[str, Any] | None = None
    ) -> Replay:
        """:meth:`replay` inside a running event loop."""
        texts = list(turns) if _are_texts(turns) else []
        units, unknown = None, []
        try:
            units = units_of(extra_info)
        except UnknownUnits as error:
            unknown = [Finding(ReplayFault.UNKNOWN_UNITS, None, str(error))]
        loop = copy.copy(self._loop)  # a loop has no state of a rollout but these two
        loop.loop = asyncio.get_running_loop()
        state = await loop.open(raw_prompt)
        if units is not None and Zoom.name in loop.tools:
            texts = respelled(texts, loop.tools[Zoom.name], state.history.first(len(state.history.views)), units)
        loop.server_manager = TextServer(self.tokenizer, texts)
        output = await loop.run({}, start=state, raw_prompt=raw_prompt)
        found = findings(output.extra_fields[TRAJECTORY], loop.server_manager.written, len(texts))
        return Replay(output, unknown + found)


def findings(trajectory: Trajectory, written: Sequence[str], given: int) -> list[Finding]:
    """What the loop did not do as the texts of a row say.

    Args:
        trajectory: the record of the replayed rollout.
        written: the texts that the loop asked for.
        given: number of texts of the row.
    """
    groups = trajectory.assistant_turns
    found = []
    for index, (group, text) in enumerate(zip(groups, written, strict=False)):
        read = "".join(part.text for part in group)
        if _same(read) != _same(text) and group[0].status is not TurnStatus.CUT:
            found.append(Finding(ReplayFault.CHANGED_TEXT, index, _difference(text, read)))
        found += [Finding(ReplayFault.REFUSED_CALL, index, part.observation) for part in group if part.corrected]
    return found + _ending(trajectory, len(written), given)


def _ending(trajectory: Trajectory, written: int, given: int) -> list[Finding]:
    """The finding about the end of a rollout: none if its last text is read to its end and answers."""
    reason, last = trajectory.end_reason, max(written - 1, 0)
    if not given:
        fault = ReplayFault.NO_TURNS if reason is EndReason.EMPTY else reason
        return [Finding(fault, None, trajectory.unreadable or fault.sentence)]
    if reason is EndReason.ANSWER and written == given:
        return []
    if reason is EndReason.ANSWER:
        return [Finding(ReplayFault.EARLY_ANSWER, last, f"{given - written} of {given} turns follow.")]
    if reason is EndReason.EMPTY and written == given:
        return [Finding(ReplayFault.UNFINISHED, last, ReplayFault.UNFINISHED.sentence)]
    where = last if written else None
    return [Finding(reason, where, trajectory.unreadable or trajectory.error or reason.sentence)]


def count_reasons(found: Iterable[Finding]) -> Counter[str]:
    """The number of findings of each reason."""
    return Counter(finding.reason.value for finding in found)


def _are_texts(turns: Any) -> bool:
    return isinstance(turns, list | tuple) and all(isinstance(turn, str) and turn.strip() for turn in turns)


def _same(text: str) -> str:
    """A text as two texts are compared: tokenizers normalise characters, and blanks after a call are not sampled."""
    return unicodedata.normalize("NFC", text).rstrip()


def _difference(text: str, read: str) -> str:
    """Where a text that was read begins to differ from the one that was given."""
    place = next((i for i, (a, b) in enumerate(zip(text, read, strict=False)) if a != b), min(len(text), len(read)))
    given, found = (repr(value[place : place + _LONGEST_DETAIL]) for value in (text, read))
    return f"From character {place}, it is {given}, and the loop reads {found}."
