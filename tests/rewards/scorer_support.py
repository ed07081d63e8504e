# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What the tests of the reward share: crops, a scorer whose scores can be predicted, a server on this machine."""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.settings import ScorerSettings


def picture(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A random RGB image."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def crop_bytes(seed: int, size: tuple[int, int] = (80, 60)) -> bytes:
    """The same as lossless bytes, in the place of the loop's JPEG."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "PNG")
    return buffer.getvalue()


class LengthScorer(AlignmentScorer):
    """Scores a text by its number and a crop by nothing, so that order can be checked; also loadable by dotted path.

    Attributes:
        batches: size of every call.
        before: called with the batch's texts before it is scored; may raise, or block.
    """

    def __init__(self, settings: ScorerSettings | None = None, before: Callable[[list[str]], None] | None = None):
        self.batches: list[int] = []
        self.before = before or (lambda texts: None)

    def score(self, texts: list[str], crops: list[Image.Image]) -> list[float]:
        self.batches.append(len(texts))
        self.before(texts)
        return [float(text.split()[-1]) for text in texts]


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """An ASGI application on a free port of this machine, for as long as the block lasts; yields its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the test server did not start"
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join(10)
