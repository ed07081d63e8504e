# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the rewards: turns, rows, checks from outside, and a local server."""

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import uvicorn
from tensordict import TensorDict
from verl import DataProto

from support.scorers import picture_bytes
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn


def visual_turn(label: str | None = None, pixels: bytes | None = picture_bytes(0), **fields: Any) -> Turn:
    """A turn that called a tool and was shown an image."""
    made = {"status": TurnStatus.OK, "described": True, "label": label, "pixels": pixels, **fields}
    return Turn(span=(0, 1), text="<tool_call>...", **made)


def fault_turn(fault: LabelFault = LabelFault.NO_LABEL, **fields: Any) -> Turn:
    """A visual turn with a fault."""
    return visual_turn(faults=[fault], **fields)


def answer_turn(text: str) -> Turn:
    """The last turn, which holds the answer."""
    return Turn(span=(1, 2), text=text)


def row_of(turns: list[Turn] | None, response: Sequence[int] = (5, 6, 7), **fields: Any) -> DataProto:
    """The batch of one row that verl's agent loop worker sends to the reward manager, pickled as Ray would.

    Args:
        turns: of the trajectory; None for a row without a trajectory.
        response: token ids.
        fields: further fields of the row, such as ``reward_model``, or others in place of the defaults.
    """
    responses = torch.tensor(response)
    question = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "?"}]
    columns = {
        "data_source": "colours",
        "reward_model": {"style": "exact", "ground_truth": "red"},
        "extra_info": {"index": 3},
        "raw_prompt": [{"role": "user", "content": question}],
        "uid": "u",
        **fields,
    }
    extra_fields = {}
    if turns is not None:
        extra_fields["trajectory"] = Trajectory(["a.png"], [(80, 60)], turns, EndReason.ANSWER)
    batch = {
        "prompts": torch.ones(1, 2, dtype=torch.int64),
        "responses": responses.unsqueeze(0),
        "attention_mask": torch.ones(1, 2 + len(responses), dtype=torch.int64),
    }
    data = DataProto(
        batch=TensorDict(batch, batch_size=1),
        non_tensor_batch={
            **{key: np.array([value]) for key, value in columns.items()},
            "__num_turns__": np.array([2]),
            "tool_extra_fields": np.array([extra_fields], dtype=object),
        },
    )
    return pickle.loads(pickle.dumps(data))


def same_length(answer: str, truth: str, **_: Any) -> bool:
    """An answer check from outside the package."""
    return len(answer) == len(truth)


async def async_check(answer: str, truth: str, **_: Any) -> bool:
    """Not an answer check, because it is async."""
    return True


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine inside the block; yields its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the test server did not start"
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()
