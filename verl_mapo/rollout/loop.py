# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The agent loop: the model writes a turn and a tool returns an image, until there is an answer or a reason to stop.

All tokens come from verl's Continuous Token: sampled tokens are never rendered again, and appended tokens are rendered
once. The image, tokens and message of an observation are committed together or not at all, so a finished rollout has
as many runs of image tokens as images. No text of the model raises an exception. The reasons to stop are the members of
:class:`verl_mapo.rollout.statuses.EndReason`.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from bisect import bisect_left
from dataclasses import replace
from itertools import count
from typing import Any

from PIL import Image
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, register
from verl.utils.profiler import simple_timer

from verl_mapo.names import AGENT_LOOP, AUDIT_TRUTH
from verl_mapo.nodes import node_name
from verl_mapo.rollout import prompts
from verl_mapo.rollout.audit import Auditor
from verl_mapo.rollout.execute_call import CallExecutor, Refusal, ToolError
from verl_mapo.rollout.image_features import POSITION_IDS, FeatureStore, feature_dtype, position_ids, without_pixels
from verl_mapo.rollout.images import ImageStore, UnreadableImage, processor_kwargs, processor_resizes
from verl_mapo.rollout.labels import LabelChecker
from verl_mapo.rollout.output import VisualToolOutput
from verl_mapo.rollout.parser import OPEN, BadCall, ToolCall, ends_with_call, read_calls, too_many_calls
from verl_mapo.rollout.plain_text import PLACEHOLDERS, PlainText
from verl_mapo.rollout.row_messages import normal_form, text_form
from verl_mapo.rollout.row_pictures import Picture
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.state import LoopState
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.tag_tokens import opens_thought, stop_token
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import parse
from verl_mapo.tools.image_history import ImageHistory

logger = logging.getLogger(__name__)

_IMAGES = ImageStore()
_FEATURES = FeatureStore()
_FRAMES = ("<|vision_start|>", "<|vision_end|>")
_MOST_DRAFTS = 8
"""Calls in the thoughts of a turn at which generation stops and goes on; then it stops no more in that turn."""


@register(AGENT_LOOP)
class VisualToolAgentLoop(AgentLoopBase):
    """verl's agent loop ``visual_tool_agent``. Its settings are the top-level node ``visual_tool``.

    Args:
        hf_model_type: the model type, which decides the units of coordinates.
        tools: verl's own tool objects, which this loop does not use; its tools are ``visual_tool.tools``.
        args, kwargs: the other arguments of verl's class.
    """

    def __init__(self, *args: Any, hf_model_type: str | None = None, tools: Any = None, **kwargs: Any):
        super().__init__(*args, hf_model_type=hf_model_type, **kwargs)
        self.settings = settings = parse(VisualToolSettings, self.config)
        rollout = self.rollout_config  # omegaconf takes milliseconds to read an interpolated setting
        self.max_turns: int = rollout.multi_turn.max_assistant_turns
        self.prompt_length: int = rollout.prompt_length
        self.response_length: int = rollout.response_length
        self.max_model_len: int | None = rollout.max_model_len
        self.mm_kwargs = self.continuous_token_builder.mm_processor_kwargs = processor_kwargs(self.data_config)
        self.resize_image, self.resize_crop = processor_resizes(
            settings, self.processor.image_processor, self.mm_kwargs
        )
        self.continuous_token_builder.processor = without_pixels(self.processor)
        self.feature_dtype = feature_dtype(self.config)
        self.images = _IMAGES
        self.tools = settings.build_tools(settings.space(hf_model_type), self.resize_image.factor)
        self.label_checker = LabelChecker(settings.describe, settings.max_label_tokens, self.tokenizer)
        self.executor = CallExecutor(self.tools, settings)
        self.plain_text = PlainText(self.tokenizer)
        self.stop_token = stop_token(settings, self.tokenizer)
        self.frames = set(self.tokenizer.convert_tokens_to_ids(list(_FRAMES)))
        self.vision_tokens = self.frames | set(self.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS)))

    async def run(
        self, sampling_params: dict[str, Any], start: LoopState | None = None, **row: Any
    ) -> VisualToolOutput:
        """Run one rollout; the arguments are those of :meth:`roll_out`."""
        state = await self.roll_out(sampling_params, start, **row)
        if row.get(AUDIT_TRUTH):
            state.trajectory.audit = await Auditor(self).audit(state, sampling_params, row)
        return await asyncio.to_thread(self._output, state)

    async def roll_out(self, sampling_params: dict[str, Any], start: LoopState | None = None, **row: Any) -> LoopState:
        """The state in which a rollout ends, before anything is computed for training.

        Args:
            sampling_params: the sampling parameters of verl's agent-loop worker.
            start: the state of a continuation (see :meth:`LoopState.prefix`); None to start from the row's prompt.
            row: the fields of the data row.
        """
        state = start or await self.open(row["raw_prompt"])
        trajectory = state.trajectory
        self.label_checker.read_again(trajectory.turns)
        while trajectory.end_reason is None:
            if self.settings.seed is not None:
                sampling_params = {**sampling_params, "seed": self._seed(row, len(trajectory.assistant_turns))}
            trajectory.end_reason = await self._turn(state, sampling_params)
        self.label_checker.read_descriptions(trajectory.turns, "")
        for version in ("min_global_steps", "max_global_steps"):
            state.extra_fields.setdefault(version, row.get("global_steps"))
        return state

    def _seed(self, row: dict[str, Any], turn: int) -> int:
        """A different seed for every turn of every rollout, the same in every run."""
        place = (self.settings.seed, row.get("global_steps"), row.get("index"), row.get("session_id"), turn)
        return zlib.crc32(repr(place).encode())

    async def open(self, raw_prompt: list[dict[str, Any]]) -> LoopState:
        """The state before the first turn. If the row cannot be shown, that is logged and the rollout ends here."""
        pictures: list[Picture] = []
        end_reason, unreadable = None, ""
        try:
            messages, pictures = normal_form(raw_prompt)
            originals = [
                await self.images.open(picture, i, replace(self.resize_image, asked=picture.asked))
                for i, picture in enumerate(pictures)
            ]
        except UnreadableImage as error:
            logger.error("A rollout ends before its first turn, because its row cannot be shown: %s", error)
            messages, originals, end_reason = text_form(raw_prompt), [], EndReason.UNREADABLE_IMAGE
            unreadable = str(error)
        messages = prompts.shown(messages, self.plain_text, self.tools.values(), self.settings)
        history = ImageHistory.of(originals, self.resize_crop)
        prompt_ids = await self._render(messages, history.images)
        longest = self.prompt_length
        if end_reason is None and len(prompt_ids) > longest:
            logger.error(
                "A rollout ends before its first turn, because its prompt has %d tokens, with the tools, and "
                "data.max_prompt_length=%d: raise it, or lower visual_tool.max_image_pixels.",
                len(prompt_ids),
                longest,
            )
            history, end_reason = ImageHistory.of([], self.resize_crop), EndReason.PROMPT_LENGTH
            prompt_ids = await self._render(self.plain_text.messages(text_form(raw_prompt)), [])
        if not history.images:  # a longer text belongs to a rollout that has ended
            prompt_ids = prompt_ids[:longest]
        trajectory = Trajectory(
            [picture.reference for picture in pictures],
            [original.pixels.size for original in originals],
            end_reason=end_reason,
            node=node_name(),
            unreadable=unreadable,
        )
        return LoopState(prompt_ids, history, trajectory, messages)

    async def _render(self, messages: list[dict[str, Any]], images: list[Image.Image]) -> list[int]:
        """The tokens of a prompt, of any length; verl's own method cuts or refuses a long one."""
        build = self.continuous_token_builder.build_initial_tokens
        return await asyncio.to_thread(build, messages, images=images or None)

    async def _turn(self, state: LoopState, sampling_params: dict[str, Any]) -> EndReason | None:
        """Run one assistant turn and its call; returns the reason to stop, None to go on."""
        room, limit = self._turn_room(state)
        if room < 1:
            return limit
        begin = len(state.response_ids)
        ended = await self._write(state, sampling_params, room)
        written = len(state.response_ids) - begin
        trajectory = state.trajectory
        turn, clean = self._read(state)
        notes = self.label_checker.read_descriptions(trajectory.turns, turn.text)
        trajectory.turns.append(turn)
        if not clean:
            return EndReason.VISION_TOKEN
        if not written:
            return EndReason.EMPTY
        if not ended:
            turn.status = TurnStatus.CUT
            return limit
        known = {*self.tools, *self.settings.aliases}
        calls = read_calls(turn.text, self.thinking(state), self.settings.parsing == "lenient", known)
        if not calls:
            turn.status = TurnStatus.ANSWER
            return EndReason.ANSWER
        if len(calls) > self.settings.calls_per_turn:
            calls = [too_many_calls(calls, self.settings.calls_per_turn)]
        trajectory.turns[-1:] = parts = self._split(state, turn, calls)
        if len(trajectory.assistant_turns) >= self.max_turns:
            for part in parts:
                part.status = TurnStatus.NO_TURNS_LEFT
            return EndReason.TURN_LIMIT
        with simple_timer("tool_calls", state.metrics):
            return await self._execute(state, parts, calls, notes)

    async def _write(self, state: LoopState, sampling_params: dict[str, Any], room: int) -> bool:
        """Let the model write a turn of at most ``room`` tokens; returns whether the turn ended within them.

        If generation stops at ``</tool_call>`` where no call ends, as in a thought, the turn goes on.
        """
        for draft in count():
            given = {**sampling_params, "max_tokens": room}
            if self.stop_token is not None and draft < _MOST_DRAFTS:
                given["stop_token_ids"] = [*(sampling_params.get("stop_token_ids") or ()), self.stop_token]
            if draft and "seed" in given:  # the engine would draw the same numbers again
                given["seed"] += draft
            written = await self._generate(state, given)
            room -= written
            last = state.response_ids[-1] if written else self.tokenizer.eos_token_id
            if last != self.stop_token or self._ends_with_call(state):
                return room > 0 or last in (self.stop_token, self.tokenizer.eos_token_id)
            if room < 1 or self._first_vision_token(state) is not None:
                return room > 0

    def _ends_with_call(self, state: LoopState) -> bool:
        text = self.tokenizer.decode(state.response_ids[state.turn_start :], skip_special_tokens=True)
        return ends_with_call(text, self.thinking(state))

    def _first_vision_token(self, state: LoopState) -> int | None:
        """The position on the response axis of the current turn's first vision token; None without one."""
        places = range(state.turn_start, len(state.response_ids))
        return next((place for place in places if state.response_ids[place] in self.vision_tokens), None)

    async def _generate(self, state: LoopState, sampling_params: dict[str, Any]) -> int:
        """Let the model write once; returns the number of tokens that it wrote."""
        with simple_timer("generate_sequences", state.metrics):
            output = await self.server_manager.generate(
                request_id=state.request_id,
                prompt_ids=state.token_ids,
                sampling_params=sampling_params,
                image_data=state.history.images or None,
                mm_processor_kwargs=self.mm_kwargs,
            )
        state.metrics["num_preempted"] = state.metrics.get("num_preempted", 0) + (output.num_preempted or 0)
        state.extra_fields = {**output.extra_fields, **state.extra_fields}
        if output.extra_fields.get("max_global_steps"):
            state.extra_fields["max_global_steps"] = output.extra_fields["max_global_steps"]
        merge = self.continuous_token_builder.merge_assistant_tokens(state.token_ids, output.token_ids)
        self._merge(state, merge, output.log_probs or [0.0] * len(output.token_ids))
        return len(output.token_ids)

    def _read(self, state: LoopState) -> tuple[Turn, bool]:
        """The turn just written, cut at the first vision token, and whether it is free of vision tokens.

        A start or end token of an image is kept, so that training can discourage it. A placeholder is dropped, because
        no image belongs to it.
        """
        end = vision = self._first_vision_token(state)
        if vision is None:
            end = len(state.response_ids)
        elif state.response_ids[vision] in self.frames:
            end = vision + 1
        state.response_ids, state.response_mask, state.response_logprobs = (
            values[:end] for values in (state.response_ids, state.response_mask, state.response_logprobs)
        )
        text = self.tokenizer.decode(state.response_ids[state.turn_start :], skip_special_tokens=True)
        return Turn((state.turn_start, end), text, status=TurnStatus.CUT), vision is None

    def thinking(self, state: LoopState) -> bool:
        """Whether the chat template has opened a thought at the start of the current turn."""
        return opens_thought(self.tokenizer, [*state.prompt_ids, *state.response_ids[: state.turn_start]])

    def _split(self, state: LoopState, turn: Turn, calls: list[ToolCall | BadCall]) -> list[Turn]:
        """The turn of each call: the text is cut after every call but the last.

        If generation does not stop at a call, the tokens after the last one stay what the policy sampled, and count.
        """
        begin, end = turn.span
        tokens = state.response_ids[begin:end]

        def position(characters: int) -> int:
            """The position on the response axis after so many characters of the text."""
            counts = range(len(tokens) + 1)
            length = lambda count: len(self.tokenizer.decode(tokens[:count], skip_special_tokens=True))
            return begin + bisect_left(counts, characters, key=length)

        cuts = [0, *(call.place[1] for call in calls[:-1]), len(turn.text)]
        edges = [begin, *map(position, cuts[1:-1]), end]
        tagged = [turn.text.startswith(OPEN, call.place[0]) for call in calls]
        last = calls[-1].place[1]
        ended = bool(tokens) and tokens[-1] == self.tokenizer.eos_token_id
        after = end - ended - position(last) if turn.text[last:].strip() else 0
        return [
            Turn(
                (edges[index], edges[index + 1]),
                turn.text[cuts[index] : cuts[index + 1]],
                continues=index > 0,
                call_start=position(call.place[0] + len(OPEN)) if tagged[index] else None,
                after_call=after if index == len(calls) - 1 else 0,
            )
            for index, call in enumerate(calls)
        ]

    async def _execute(
        self, state: LoopState, turns: list[Turn], calls: list[ToolCall | BadCall], notes: list[str]
    ) -> EndReason | None:
        """Execute the calls of a turn and return their images, or the reasons why there are none, to the model."""
        shown = len(state.history.views)
        history = state.history.first(shown)
        try:
            results = await asyncio.to_thread(self.executor.execute, calls, turns, history)
        except ToolError as error:
            logger.error("A rollout ends and is not trained on: %s", error, exc_info=error)
            state.trajectory.error = str(error)
            return EndReason.TOOL_ERROR
        if all(isinstance(result, Refusal) for result in results):
            if state.retries >= self.settings.max_retries:
                return EndReason.BAD_CALLS
            state.retries += 1
        replies: list[tuple[str, Image.Image | None]] = []
        for turn, result in zip(turns, results, strict=True):
            if isinstance(result, Refusal):
                replies.append((result.sentence, None))
                continue
            told = self.label_checker.check_label(turn) if turn.described else []
            if state.swapper is not None:
                history.images[shown] = state.swapper.later(result.view, result.image, history)
            replies.append((" ".join([prompts.image_text(shown, result.view.size), *told]), history.images[shown]))
            shown += 1
        replies[-1] = (" ".join([replies[-1][0], *notes]), replies[-1][1])
        end_reason = await self._append(state, turns, replies)
        if end_reason is None:
            state.history = history
            return None
        for turn in turns:
            if turn.status is TurnStatus.OK:
                turn.withdraw(TurnStatus.NO_ROOM)
        return end_reason

    async def _append(
        self, state: LoopState, turns: list[Turn], replies: list[tuple[str, Image.Image | None]]
    ) -> EndReason | None:
        """Commit an observation, unless it leaves no room for an answer; returns the reason to stop in that case.

        A turn that stopped at its call gets the end token, which was not sampled, so it has mask 0.
        """
        message = self.plain_text.messages([prompts.observation(*replies)])
        eos = self.tokenizer.eos_token_id
        closing = [] if state.response_ids[-1] == eos else [eos]
        mask = state.response_mask + [0] * len(closing)
        merge, *_ = await self.ct_merge_context_msg([], message, state.token_ids + closing, mask)
        room, limit = self._room(state)
        if len(merge.token_ids) - len(state.token_ids) >= room:
            return limit
        for turn, (text, _) in zip(turns, replies, strict=True):
            turn.observation = text
        state.response_mask, state.response_logprobs = mask, state.response_logprobs + [0.0] * len(closing)
        self._merge(state, merge)
        state.turn_start = len(state.response_ids)
        return None

    def _merge(self, state: LoopState, merge: Any, logprobs: list[float] | None = None) -> None:
        """Write the result of a Continuous Token merge into the three response lists."""
        state.response_mask, state.response_logprobs = self.continuous_token_builder.align_response_metadata(
            merge, state.response_mask, state.response_logprobs, assistant_logprobs=logprobs
        )
        state.response_ids = merge.token_ids[len(state.prompt_ids) :]

    def _room(self, state: LoopState) -> tuple[int, EndReason]:
        """The number of tokens that may still be written, and the reason to stop once they are used up."""
        rooms = {EndReason.RESPONSE_LENGTH: self.response_length - len(state.response_ids)}
        if self.max_model_len:
            rooms[EndReason.CONTEXT_LENGTH] = self.max_model_len - len(state.token_ids)
        limit = min(rooms, key=rooms.__getitem__)
        return rooms[limit], limit

    def _turn_room(self, state: LoopState) -> tuple[int, EndReason]:
        """The same for the current turn, of which a continuation was given a part."""
        room, limit = self._room(state)
        if self.settings.max_turn_tokens is None:
            return room, limit
        in_turn = self.settings.max_turn_tokens - (len(state.response_ids) - state.turn_start)
        return min((room, limit), (in_turn, EndReason.TURN_LENGTH), key=lambda of: of[0])

    def _output(self, state: LoopState) -> VisualToolOutput:
        """verl's output of a finished rollout, with its features: milliseconds to a second of work."""
        if not state.response_ids:
            state.response_ids, state.response_mask, state.response_logprobs = [self.tokenizer.eos_token_id], [0], [0.0]
        history = state.history
        features = _FEATURES.of(
            self.processor, history.images, len(history.originals), self.mm_kwargs, self.feature_dtype
        )
        features[POSITION_IDS] = position_ids(self.processor, state.token_ids, features)
        return VisualToolOutput(
            state,
            self.max_turns * self.settings.calls_per_turn,
            features,
            prompt_ids=state.prompt_ids,
            response_ids=state.response_ids,
            response_mask=state.response_mask,
            response_logprobs=state.response_logprobs if self.rollout_config.calculate_log_probs else None,
            multi_modal_data={"images": history.images} if history.images else {},
            mm_processor_kwargs=self.mm_kwargs,
            num_turns=2 * len(state.trajectory.assistant_turns),
            metrics=AgentLoopMetrics(**state.metrics),
        )
