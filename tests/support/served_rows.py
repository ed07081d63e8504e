# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Three questions about a picture, and the rollouts of a model on a server that answers them by a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig

from support.chat_server import ChatServer
from support.scorers import NUMBER_SCORER
from support.scripted import call, compose_config
from verl_mapo.server_run import ServerRun, ServerSettings

QUESTIONS = ("with a look", "wrongly", "without a look")
TURNS = {
    "with a look": [call(label="red square 0.3"), "<answer>red</answer>"],
    "wrongly": ["<answer>blue</answer>"],
    "without a look": ["<think>It is red.</think>\n<answer>red</answer>"],
}


def script(question: str, before: int) -> str:
    """The script of the server: what the model writes for a question after some turns."""
    return TURNS[question][before]


def write_questions(file: Path, picture: str, questions: tuple[str, ...] = QUESTIONS) -> Path:
    """Neutral rows; the true box of each is that of the red square."""
    rows = [
        {
            "data_source": "squares",
            "prompt": [{"role": "user", "content": f"<image>{question}"}],
            "images": [{"image": f"file://{picture}"}],
            "reward_model": {"style": "exact", "ground_truth": "red", "options": None},
            "extra_info": {"index": index, "id": f"q{index}", "boxes": [[60.0, 40.0, 120.0, 100.0]], "more": "{}"},
        }
        for index, question in enumerate(questions)
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def config_of(model: Any, data: Path) -> DictConfig:
    """The configuration of a run with these questions."""
    config = compose_config(
        f"reward.description_alignment.scorer.kind={NUMBER_SCORER}", "reward.description_alignment.scorer.model=null"
    )
    config.data.train_files = str(data)
    config.actor_rollout_ref.model.path = str(model.folder)
    return config


def server_run(trained: Any, data: Path, run: Path, server: ChatServer, **settings: Any) -> ServerRun:
    """A run of two rollouts of each question, one at a time; ``trained`` is of the fixture ``tiny_models``."""
    given = {"n": 2, "concurrency": 1, "retries": 0, "timeout_s": 120.0, "model": "teacher", **settings}
    return ServerRun(config_of(trained, data), ServerSettings(server=server.url, **given), run)
