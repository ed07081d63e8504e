# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scores by an OpenAI-compatible embeddings server, such as vLLM with CLIP (``vllm serve MODEL --runner pooling``).

Texts are sent as ``input``, because vLLM omits CLIP's start and end tokens from texts sent as chat messages. An image
is sent as a chat message with a data URL, which is vLLM's extension of the protocol. Texts and images are never sent at
the same time: vLLM 0.24 returns wrong text embeddings for texts that share a batch with images. The server
preprocesses the images, so they are made square here: a resize of the shortest edge and a centre crop then keep all.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from verl_mapo.endpoint import api_key, data_url
from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.scorers.fit import letterboxed, stretched
from verl_mapo.rewards.scorers.settings import ScorerSettings


class HttpScorer(AlignmentScorer):
    """Scores with the cosine of the embeddings that a server returns.

    A failed request is sent again ``retries`` times with growing pauses, all within ``timeout_s``.

    Args:
        settings: ``url``, ``model``, ``fit``, ``api_key_env``, ``timeout_s`` and ``retries`` are read.

    Raises:
        ConfigError: the environment variable of the key is not set.
    """

    def __init__(self, settings: ScorerSettings):
        from openai import OpenAI
        from openai.types import CreateEmbeddingResponse

        self.model = settings.model
        self.square = {"stretch": stretched, "letterbox": letterboxed, "model": lambda image: image}[settings.fit]
        self.reply = CreateEmbeddingResponse
        self.client = OpenAI(
            base_url=settings.url,
            api_key=api_key(settings.api_key_env, f"{ALIGNMENT_NODE}.scorer.api_key_env"),
            timeout=settings.timeout_s / (settings.retries + 1),
            max_retries=settings.retries,
        )
        self.pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="embed")

    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        """See :meth:`AlignmentScorer.score`.

        Raises:
            openai.OpenAIError: a request still fails after the retries.
        """
        text_vectors = self._embed(input=texts, truncate_prompt_tokens=-1)
        image_vectors = [vectors[0] for vectors in self.pool.map(self._embed_image, images)]
        return [_cosine(text, image) for text, image in zip(text_vectors, image_vectors, strict=True)]

    def _embed_image(self, image: Image.Image) -> list[list[float]]:
        url = {"type": "image_url", "image_url": {"url": data_url(self.square(image))}}
        return self._embed(messages=[{"role": "user", "content": [url]}])

    def _embed(self, **body: Any) -> list[list[float]]:
        body = {"model": self.model, "encoding_format": "float", **body}
        reply = self.client.post("/embeddings", body=body, cast_to=self.reply)
        return [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]


def _cosine(a: list[float], b: list[float]) -> float:
    norm = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else math.nan
