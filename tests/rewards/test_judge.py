# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The judge against a server in this process."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from support.rewards import served

from verl_mapo.rewards.judge import MAX_ANSWER, Judge, NoVerdict
from verl_mapo.rewards.settings import JudgeSettings


class JudgeServer(FastAPI):
    """Replies with ``reply``, and records the requests and how many came at once.

    Attributes:
        faults: status codes for the next requests, taken from the front; 0 gives no response at all.
        drip: whether a reply comes byte by byte.
        together: number of requests that must have come before the first one is answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reply: str | None = "yes"
        self.faults: list[int] = []
        self.drip = False
        self.seen: list[dict] = []
        self.at_once = self.most_at_once = 0
        self.together, self.came_together = 1, asyncio.Event()
        self.post("/v1/chat/completions")(self.complete)

    async def complete(self, request: Request) -> Response:
        self.seen.append(await request.json())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        fault = self.faults.pop(0) if self.faults else None
        while fault == 0 and not await request.is_disconnected():
            await asyncio.sleep(0.01)
        if self.at_once >= self.together:
            self.came_together.set()
        await asyncio.wait_for(self.came_together.wait(), 60)
        await asyncio.sleep(0.02)
        self.at_once -= 1
        if self.drip:
            return StreamingResponse(self.bytes(), media_type="application/json")
        if fault is not None:
            return Response(status_code=fault or 500)
        message = {"role": "assistant", "content": self.reply}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        return JSONResponse({"id": "1", "object": "chat.completion", "created": 0, "model": "j", "choices": choices})

    async def bytes(self) -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" "
            await asyncio.sleep(0.01)


@pytest.fixture
def server():
    app = JudgeServer()
    with served(app) as app.url:
        yield app


def ask(server: JudgeServer, answer: str = "crimson", times: int = 1, **changed) -> list[bool | str]:
    """The verdicts, or why there is none."""
    judge = Judge(JudgeSettings(url=server.url, model="judge", **{"timeout_s": 120.0, **changed}))

    async def verdict() -> bool | str:
        try:
            return await judge.verdict("Which colour?", answer, ["red", "scarlet"])
        except NoVerdict as error:
            return str(error)

    async def run() -> list[bool | str]:
        return await asyncio.gather(*(verdict() for _ in range(times)))

    return asyncio.run(run())


NEITHER = [
    (reply, f"The judge judge replied neither yes nor no, but {reply or ''!r}.") for reply in ("perhaps", "", None)
]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("yes", True), ("No.", False), ("<think>no, or</think>\nYes", True), *NEITHER],
)
def test_last_yes_or_no_is_the_verdict(server, reply, verdict):
    server.reply = reply
    assert ask(server) == [verdict]


def test_request_has_temperature_0_question_truths_and_answer(server):
    ask(server)
    request = server.seen[0]
    assert request["temperature"] == 0 and request["model"] == "judge"
    prompt = request["messages"][0]["content"]
    assert "Which colour?" in prompt and "red or scarlet" in prompt and "crimson" in prompt


def test_long_answer_is_cut_and_invalid_text_replaced(server):
    assert ask(server, "\ud800" + "x" * 10_000) == [True]
    assert server.seen[0]["messages"][0]["content"].count("x") < MAX_ANSWER + 10


def test_failed_request_is_sent_again_a_bounded_number_of_times(server):
    server.faults = [500]
    assert ask(server, retries=1) == [True]
    server.faults = [500, 500]
    (why,) = ask(server, retries=1)
    assert why.startswith(f"The judge at {server.url} gave no verdict: InternalServerError")
    assert len(server.seen) == 4


def test_stalled_request_gives_no_verdict(server):
    server.faults = [0]
    (why,) = ask(server, timeout_s=0.1, retries=0)
    assert why == f"The judge at {server.url} gave no verdict: no reply within 0.1 s." or "timed out" in why


def test_judge_that_hangs_is_asked_by_one_request_at_a_time_until_it_replies(server):
    """Of 40 requests, 4 wait for it, then one more; the others fail at once, and the next one succeeds."""
    server.faults = [0] * 5
    whys = ask(server, times=40, timeout_s=0.5, retries=0, concurrency=4)
    assert len(server.seen) <= 5 and sum("is not asked" in str(why) for why in whys) >= 35
    server.faults = []
    assert ask(server, times=2, concurrency=1) == [True, True]


def test_reply_that_drips_is_no_reply(server):
    """Each byte comes in time for the client, which has a limit for each, but the reply as a whole does not."""
    server.drip = True
    (why,) = ask(server, timeout_s=0.3, retries=0)
    assert "no reply within 0.3 s" in why


def test_missing_server_gives_no_verdict():
    judge = Judge(JudgeSettings(url="http://127.0.0.1:9/v1", model="judge", retries=0))
    with pytest.raises(NoVerdict, match="APIConnectionError"):
        asyncio.run(judge.verdict("?", "a", ["b"]))


def test_concurrent_requests_are_bounded(server):
    server.together = 3
    assert ask(server, times=12, concurrency=3) == [True] * 12
    assert server.most_at_once == 3
