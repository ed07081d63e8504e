# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""OpenAI-compatible servers: URL and key of the ``http`` scorer, the judge and a served model; one way to ask the last
two."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from PIL import Image
from pydantic import Field

from verl_mapo.settings import ConfigError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Retries = Annotated[int, Field(ge=0, le=10)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_BROKEN_OFF = ("content_filter", "abort", "error")
"""Values of ``finish_reason`` with which a server ends a reply that the model did not end, beside ``length``."""

_LONGEST_REASON = 300
"""Characters of a server's own message that a reason keeps."""


def base_url(url: str | None) -> str:
    """The URL, unchanged.

    Raises:
        ValueError: it is not an http or https URL.
    """
    try:
        place = urlsplit(url or "")
        usable = place.scheme in ("http", "https") and place.hostname and place.port != 0 and url.isprintable()
    except ValueError:  # the port is no number below 65536, or the brackets of an address are not closed
        usable = False
    if not usable or " " in url:
        raise ValueError("it should be the base URL of an OpenAI-compatible server, such as 'http://127.0.0.1:8000/v1'")
    return url


def api_key(variable: str | None, setting: str) -> str:
    """The key in an environment variable of this process; the placeholder ``none`` when no variable is named.

    Args:
        variable: its name.
        setting: the setting or option that names it, such as ``reward.description_alignment.judge.api_key_env``.

    Raises:
        ConfigError: the variable is not set, or its value cannot be sent in a header.
    """
    if variable is None:
        return "none"
    if variable not in os.environ:
        raise ConfigError(
            f"{setting}={variable!r} is not set in the environment of the process that needs it; in a process of Ray, "
            "forward it through ray_kwargs.ray_init.runtime_env.env_vars."
        )
    key = os.environ[variable]
    if not key.isascii() or not key.isprintable() or not key.strip() or key != key.strip():
        raise ConfigError(
            f"{setting}={variable!r} names a variable whose value cannot be sent as a key: it is empty, or has blanks "
            f"around it, a line break or a character that is not ASCII. Set it to the key alone: export {variable}=KEY."
        )
    return key


def data_url(image: Image.Image) -> str:
    """An image as a data URL that holds a PNG, so that the server decodes the same pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class NoReply(RuntimeError):
    """A server gave no reply; the message is the reason, without a full stop.

    Attributes:
        status: the HTTP status; None without one.
    """

    def __init__(self, reason: str, status: int | None = None):
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class ChatReply:
    """What a model wrote in one reply.

    Attributes:
        text: its text; empty if it wrote none.
        reasoning: its thought, where the server returns it apart from the text (vLLM's ``reasoning``, others'
            ``reasoning_content``); empty elsewhere.
        finished: whether the model ended the reply itself; False where a limit of tokens cut it.
    """

    text: str
    reasoning: str = ""
    finished: bool = True


class ChatClient:
    """Asks one model of a server for replies. Its requests share connections, so it belongs to one event loop.

    A failed request (no connection, no reply in time, status 408, 409, 429 or 5xx) is sent again by the openai client,
    after growing pauses.

    Args:
        url: base URL of the server.
        model: the name under which the server serves the model.
        key: see :func:`api_key`.
        timeout_s: longest time that one attempt may take, in seconds; all attempts together, with the pauses between
            them, may take ``retries`` + 1 times as long.
        retries: how often a failed request is sent again.
    """

    def __init__(self, url: str, model: str, key: str, timeout_s: float, retries: int):
        self.url, self.model, self.key = url, model, key
        self.timeout_s, self.retries = timeout_s, retries
        self.limit_s = timeout_s * (retries + 1)
        self._client: AsyncOpenAI | None = None

    async def reply(self, messages: Sequence[dict[str, Any]], **sampling: Any) -> ChatReply:
        """The model's reply to messages.

        Args:
            messages: in the form of OpenAI's chat completions.
            sampling: sampling parameters of the same protocol.

        Raises:
            NoReply: no attempt gave a reply, the server's answer is none, or the server did not leave the reply whole.
        """
        from openai import APIStatusError, OpenAIError

        try:
            answer = await asyncio.wait_for(self._request(messages, sampling), self.limit_s)
        except asyncio.TimeoutError as error:
            raise NoReply(f"no reply within {self.limit_s:g} s") from error
        except (OpenAIError, ValueError) as error:  # ValueError: the answer is not valid JSON
            raise NoReply(_reason(error), error.status_code if isinstance(error, APIStatusError) else None) from error
        try:
            return _reply_of(answer.choices[0])
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise NoReply(f"the answer {answer!r:.100} is no chat completion") from error

    async def _request(self, messages: Sequence[dict[str, Any]], sampling: dict[str, Any]) -> Any:
        from openai import AsyncOpenAI

        if self._client is None:
            self._client = AsyncOpenAI(
                base_url=self.url, api_key=self.key, timeout=self.timeout_s, max_retries=self.retries
            )
        return await self._client.chat.completions.create(model=self.model, messages=list(messages), **sampling)


def _reply_of(choice: Any) -> ChatReply:
    """The reply in a choice of a chat completion.

    Raises:
        NoReply: the server withheld the reply, or took the calls of tools out of its text.
        AttributeError, KeyError, TypeError: it is not a choice of OpenAI's protocol.
    """
    message, ending = choice.message, getattr(choice, "finish_reason", None)
    if ending in _BROKEN_OFF:
        raise NoReply(f"the server broke the reply off with finish_reason={ending}")
    if getattr(message, "tool_calls", None) or getattr(message, "function_call", None):
        raise NoReply(
            "the server took the tool calls out of the text: start it without a parser of tool calls (vLLM: without "
            "--enable-auto-tool-choice)"
        )
    more = message.model_extra or {}
    reasoning = more.get("reasoning") or more.get("reasoning_content")
    return ChatReply(_text(getattr(message, "content", None)), _text(reasoning), ending != "length")


def _text(content: Any) -> str:
    """The text of a content, which is a text, None, or a list of parts; half of a surrogate pair becomes U+FFFD.

    Raises:
        KeyError, TypeError: it is something else, or a part is no text.
    """
    if isinstance(content, list):
        return "".join(_text(part["text"]) for part in content)
    if not isinstance(content, str | None):
        raise TypeError(f"{content!r:.100} is no text")
    return (content or "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _reason(error: Exception) -> str:
    """The error in words, with its cause where it does not tell it, as an error of a connection does not."""
    from openai import APIConnectionError, APITimeoutError

    cause = error.__cause__
    told = isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError) and cause and str(cause)
    message = " ".join(f"{error} {cause if told else ''}".split())[:_LONGEST_REASON]
    return f"{type(error).__name__}: {message}".rstrip(".: ")
