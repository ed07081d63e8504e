# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The agent loop with a model on an OpenAI-compatible server: it is asked with messages instead of tokens.

Everything else is :class:`verl_mapo.rollout.loop.VisualToolAgentLoop`: prompts, parser, tools, observations, limits and
record. Its tokenizer and processor are those of the model that will be trained: texts are counted in its tokens, boxes
are in its units, and the server is sent every image at the size at which that model sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from verl.utils.profiler import simple_timer

from verl_mapo.endpoint import ChatReply, data_url
from verl_mapo.rollout import prompts
from verl_mapo.rollout.loop import VisualToolAgentLoop
from verl_mapo.rollout.parser import CLOSE, END_OF_THINKING, THINK, own_part, read_calls
from verl_mapo.rollout.state import LoopState
from verl_mapo.rollout.statuses import TurnStatus

_SAMPLING = ("temperature", "top_p", "seed")
"""Sampling parameters of the loop that are part of OpenAI's protocol."""


@dataclass
class ChatState(LoopState):
    """The state of a rollout, with the images shown so far as data URLs, which every request holds.

    Attributes:
        urls: the data URLs that were made so far.
    """

    urls: list[str] = field(default_factory=list)


class ChatLoop(VisualToolAgentLoop):
    """The loop whose ``server_manager`` is a :class:`verl_mapo.endpoint.ChatClient`. One object runs any number of
    rollouts at the same time.

    :meth:`roll_out` raises :class:`verl_mapo.endpoint.NoReply` where the server gives no reply; the rollout is lost. A
    reply without text ends the rollout as ``empty``.
    """

    async def open(self, raw_prompt: list[dict[str, Any]]) -> ChatState:
        return ChatState(**vars(await super().open(raw_prompt)))

    async def _write(self, state: ChatState, sampling_params: dict[str, Any], room: int) -> bool:
        """Ask for a turn of at most ``room`` tokens; returns whether the model ended it within them.

        The server counts its own tokens, so that a reply may be longer here; it is cut.
        """
        given = {name: sampling_params[name] for name in _SAMPLING if name in sampling_params}
        with simple_timer("generate_sequences", state.metrics):
            messages = await asyncio.to_thread(self._messages, state)
            reply = await self.server_manager.reply(messages, max_tokens=room, **given)
        ids, ended = self._tokens(reply, self.thinking(state))
        ended, ids = ended and len(ids) <= room, ids[:room]
        merge = self.continuous_token_builder.merge_assistant_tokens(state.token_ids, ids)
        self._merge(state, merge, [0.0] * len(ids))
        return ended

    def _tokens(self, reply: ChatReply, thinking: bool) -> tuple[list[int], bool]:
        """The tokens that the engine would have sampled for a reply, and whether the turn ends with them.

        A thought that the server returns apart from the text is put before it, in the tags that the chat template of
        the trained model has.

        Args:
            reply: the reply; no text and no thought give no tokens.
            thinking: whether that template has opened a thought before the turn.
        """
        text = reply.text
        if reply.reasoning:
            text = f"{THINK}\n{reply.reasoning.strip()}\n{END_OF_THINKING}\n\n{text}"
        text = own_part(text, thinking)
        if not text:
            return [], True
        eos, end = self.tokenizer.eos_token_id, self._end_of_call(text, thinking)
        ids = self.tokenizer.encode(text[:end], add_special_tokens=False)
        if eos in ids:
            ids = ids[: ids.index(eos) + 1]
        elif reply.finished and end is None:
            ids.append(eos)
        return ids, reply.finished or end is not None

    def _end_of_call(self, text: str, thinking: bool) -> int | None:
        """Where generation would have stopped under ``visual_tool.stop_at_call``; None if it would not."""
        if not self.settings.stop_at_call:
            return None
        ends = (call.place[1] for call in read_calls(text, thinking, lenient=False))
        return next((end for end in ends if text.endswith(CLOSE, 0, end)), None)

    def _messages(self, state: ChatState) -> list[dict[str, Any]]:
        """The dialogue so far in OpenAI's form."""
        state.urls += map(data_url, state.history.images[len(state.urls) :])
        urls, opened = iter(state.urls), f"{THINK}\n" if self.thinking(state) else ""
        messages = list(state.messages)
        for turns in state.trajectory.assistant_turns:
            messages.append({"role": "assistant", "content": opened + "".join(turn.text for turn in turns)})
            replies = [(turn.observation, turn.view if turn.status is TurnStatus.OK else None) for turn in turns]
            messages += self.plain_text.messages([prompts.observation(*replies)])
        return [_sent(message, urls) for message in messages]


def _sent(message: dict[str, Any], urls: Iterator[str]) -> dict[str, Any]:
    """A message with the next data URLs in the place of its images."""
    content = message["content"]
    if not isinstance(content, str):
        content = [
            {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
            for part in content
        ]
    return {"role": message["role"], "content": content}
