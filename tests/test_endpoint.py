# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The key and the URL of an OpenAI-compatible server, and the image that it is sent."""

import asyncio
import base64
import io
import json
from typing import Any

import pytest
from PIL import Image
from support.chat_server import ChatServer
from support.rewards import served
from support.scorers import picture

from verl_mapo.endpoint import ChatClient, ChatReply, NoReply, api_key, base_url, data_url
from verl_mapo.settings import ConfigError


def test_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SCORER_KEY", "secret")
    assert api_key("SCORER_KEY", "--api-key-env") == "secret"
    assert api_key(None, "--api-key-env") == "none"


def test_key_that_is_not_set_is_refused(monkeypatch):
    monkeypatch.delenv("OTHER_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"judge\.api_key_env='OTHER_KEY' is not set"):
        api_key("OTHER_KEY", "judge.api_key_env")


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "h:8000",
        "http://",
        "ftp://h/v1",
        "http://h:port/v1",
        "http://h:99999/v1",
        "http://[::1/v1",
        "http://a b/v1",
        "http://h/\n",
    ],
)
def test_url_without_http_and_host_is_refused(url):
    with pytest.raises(ValueError, match="should be the base URL"):
        base_url(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "https://host/v1"])
def test_http_url_is_returned_unchanged(url):
    assert base_url(url) == url


def test_data_url_holds_the_same_pixels():
    image = picture(0)
    header, _, data = data_url(image).partition(",")
    assert header == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == image.tobytes()


def body(content: Any, finish_reason: str | None = "stop", **message: Any) -> str:
    """The body of a chat completion."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"content": content, **message}}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]})


def ask(url: str, key: str = "none") -> ChatReply:
    client = ChatClient(url, "teacher", key, timeout_s=120.0, retries=0)
    return asyncio.run(client.reply([{"role": "user", "content": "?"}]))


CALLS = [{"id": "1", "type": "function", "function": {"name": "zoom", "arguments": "{}"}}]
REPLIES = [
    (body([{"type": "text", "text": "re"}, {"type": "text", "text": "d"}]), ChatReply("red")),
    (body(None, reasoning_content="why"), ChatReply("", "why")),
    (body("a\ud800b"), ChatReply("a\ufffdb")),
    (body("red", None), ChatReply("red")),
    (body("red", "length"), ChatReply("red", finished=False)),
    ('{"choices": [{"message": {"content": "red"}}]}', ChatReply("red")),
]
NO_REPLIES = [
    (body(None, "tool_calls", tool_calls=CALLS), "took the tool calls out of the text: start it without a parser"),
    (body("red", "content_filter"), "broke the reply off with finish_reason=content_filter"),
    (body("red", "abort"), "broke the reply off with finish_reason=abort"),
    (body(5), "no chat completion"),
    (body([{"type": "thinking", "thinking": "why"}]), "no chat completion"),
    (body("red", reasoning={"why": 1}), "no chat completion"),
    ('{"choices": [{"message": null}]}', "no chat completion"),
    ('{"choices": ["red"]}', "no chat completion"),
    ('{"error": {"message": "overloaded"}}', "no chat completion"),
    ("null", "no chat completion"),
]


def test_reply_is_read_in_every_form_of_a_text_or_is_none_with_a_reason():
    app = ChatServer(lambda question, before: "unused")
    with served(app) as url:
        for given, reply in REPLIES:
            app.faults = [given]
            assert ask(url) == reply, given
        for given, reason in NO_REPLIES:
            app.faults = [given]
            with pytest.raises(NoReply, match=reason):
                ask(url)
        with pytest.raises(NoReply, match="APIConnectionError: Connection error.*SSL"):
            ask(url.replace("http", "https"))


@pytest.mark.parametrize("key", ["", " ", "secret\n", "schl\u00fcssel"])
def test_key_that_no_header_can_hold_is_refused_without_showing_it(monkeypatch, key):
    monkeypatch.setenv("SCORER_KEY", key)
    with pytest.raises(ConfigError, match="'SCORER_KEY' names a variable whose value cannot be sent") as error:
        api_key("SCORER_KEY", "--api-key-env")
    assert not key.strip() or key.strip() not in str(error.value)
