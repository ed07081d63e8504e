# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP scorer against an embeddings server in this process."""

import asyncio
import base64
import io
import math

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from openai import APIStatusError, APITimeoutError
from PIL import Image
from support.rewards import served
from support.scorers import picture
from transformers import CLIPImageProcessor

from verl_mapo.rewards.scorers.base import build_scorer
from verl_mapo.rewards.scorers.http import HttpScorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError

TEXTS = ["0 degrees", "60 degrees", "180 degrees"]


class EmbeddingsServer(FastAPI):
    """Embeds ``N degrees`` as a point on a circle and every image at 0 degrees, and records the requests.

    Attributes:
        seen: bodies of the requests.
        keys: values of their authorization headers.
        images: the images in them.
        faults: status codes for the next requests, taken from the front; 0 gives no response at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict] = []
        self.keys: set[str | None] = set()
        self.faults: list[int] = []
        self.images: list[Image.Image] = []
        self.post("/v1/embeddings")(self.embed)

    async def embed(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.keys.add(request.headers.get("authorization"))
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            while fault == 0 and not await request.is_disconnected():
                await asyncio.sleep(0.01)
            return Response(status_code=fault or 500)
        if "input" in body:
            angles = [math.radians(float(text.split()[0])) for text in body["input"]]
            vectors = [[2 * math.cos(angle), 2 * math.sin(angle)] for angle in angles]
        else:
            url = body["messages"][0]["content"][0]["image_url"]["url"]
            header, _, data = url.partition(",")
            assert header == "data:image/png;base64"
            self.images.append(Image.open(io.BytesIO(base64.b64decode(data))))
            vectors = [[3.0, 0.0]]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        reply = {"object": "list", "data": data[::-1], "model": body["model"], "usage": {}}
        return JSONResponse(reply)


@pytest.fixture
def server():
    app = EmbeddingsServer()
    with served(app) as app.url:
        yield app


def scorer_of(server: EmbeddingsServer, **changed) -> HttpScorer:
    settings = {"kind": "http", "model": "clip", "url": server.url, "placement": "actor", "timeout_s": 120.0, **changed}
    return build_scorer(ScorerSettings(**settings))


def test_scores_are_cosines_in_the_order_of_the_pairs(server):
    images = [picture(index, (20 + index, 30)) for index in range(3)]
    assert scorer_of(server).score(TEXTS, images) == pytest.approx([1.0, 0.5, -1.0])
    assert len(server.images) == 3


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(80, 20), (20, 80)])
def test_both_ends_of_an_image_survive_the_servers_centre_crop(server, fit, size):
    plain = Image.new("RGB", size)
    start, end = plain.copy(), plain.copy()
    start.paste((255, 0, 0), (0, 0, 10, 10))
    end.paste((255, 0, 0), (size[0] - 10, size[1] - 10, *size))
    for image in (plain, start, end):  # one by one: a batch is sent in any order
        scorer_of(server, fit=fit).score(TEXTS[:1], [image])
    seen = CLIPImageProcessor()(server.images, return_tensors="pt")["pixel_values"]
    assert all((seen[0] - other).abs().max() > 1 for other in seen[1:])


def test_image_is_sent_unchanged_if_the_server_decides(server):
    scorer_of(server, fit="model").score(TEXTS[:1], [picture(0, (80, 20))])
    assert [image.size for image in server.images] == [(80, 20)]


def test_texts_are_sent_in_one_request_before_any_image(server):
    scorer_of(server).score(TEXTS, [picture(0)] * 3)
    first, *others = server.seen
    assert first == {"model": "clip", "encoding_format": "float", "input": TEXTS, "truncate_prompt_tokens": -1}
    assert len(others) == 3 and all("messages" in body for body in others)


def test_key_is_sent_if_one_is_named(server, monkeypatch):
    monkeypatch.setenv("EMBED_KEY", "secret")
    scorer_of(server, api_key_env="EMBED_KEY").score(TEXTS[:1], [picture(0)])
    assert server.keys == {"Bearer secret"}
    monkeypatch.delenv("EMBED_KEY")
    with pytest.raises(ConfigError, match="EMBED_KEY"):
        scorer_of(server, api_key_env="EMBED_KEY")


def test_failed_request_is_sent_again(server):
    server.faults = [503, 500]
    assert scorer_of(server).score(TEXTS[:1], [picture(0)]) == pytest.approx([1.0])
    assert len(server.seen) == 4


def test_number_of_retries_is_bounded(server):
    server.faults = [500] * 9
    with pytest.raises(APIStatusError):
        scorer_of(server, retries=1).score(TEXTS[:1], [picture(0)])
    assert len(server.seen) == 2


def test_stalled_request_is_abandoned_after_the_timeout(server):
    server.faults = [0]
    with pytest.raises(APITimeoutError):
        scorer_of(server, timeout_s=0.2, retries=0).score(TEXTS[:1], [picture(0)])
