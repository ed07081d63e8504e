# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible chat server in the process of a test, whose model writes the turns of a script."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

Script = Callable[[str, int], str]
"""The text of a turn, given the question and the number of turns before it."""

STALL = "stall"
"""A fault: no answer at all."""


class ChatServer(FastAPI):
    """Answers chat completions by a script.

    Attributes:
        script: see :data:`Script`.
        faults: what the next requests get instead, taken from the front: an HTTP status, :data:`STALL`, or the text of
            a body with status 200.
        reasoning: a thought that is returned beside the text.
        finish_reason: of every reply.
        seen: bodies of the requests.
        keys: values of their authorization headers.
    """

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.faults: list[int | str] = []
        self.reasoning: str | None = None
        self.finish_reason = "stop"
        self.seen: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.post("/v1/chat/completions")(self.complete)

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.keys.add(request.headers.get("authorization"))
        fault = self.faults.pop(0) if self.faults else None
        if fault == STALL:
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
        if isinstance(fault, int):
            return Response(status_code=fault)
        if fault is not None:
            return Response(fault, media_type="application/json")
        question = next(text_of(message) for message in body["messages"] if message["role"] == "user")
        before = sum(message["role"] == "assistant" for message in body["messages"])
        message = {"role": "assistant", "content": self.script(question, before), "reasoning": self.reasoning}
        choice = {"index": 0, "finish_reason": self.finish_reason, "message": message}
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        return JSONResponse(reply)


def text_of(message: dict[str, Any]) -> str:
    """The text of a message in OpenAI's form."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def images_of(body: dict[str, Any]) -> list[Image.Image]:
    """The images of a request, in order."""
    found = []
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "image_url":
                header, _, data = part["image_url"]["url"].partition(",")
                assert header == "data:image/png;base64"
                found.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return found
