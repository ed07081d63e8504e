# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The agent loop with a language model whose turns are scripted; everything else is real."""

from __future__ import annotations

import asyncio
import copy
import json
from functools import lru_cache
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.images import image_token_side
from verl_mapo.rollout.loop import VisualToolAgentLoop
from verl_mapo.rollout.output import VisualToolOutput
from verl_mapo.rollout.state import LoopState
from verl_mapo.rollout.statuses import EndReason


class ScriptedServer:
    """Generates the turns of a script in order: a text, which is ended by ``<|im_end|>``, or token ids.

    A turn ends at a stop token, as in vLLM, which returns this token and its log-probability; the rest is dropped.
    """

    def __init__(self, tokenizer: Any, turns: list[str | list[int]]):
        self.tokenizer = tokenizer
        self.turns = iter(turns)
        self.prompts: list[list[int]] = []
        self.images: list[int] = []

    async def generate(self, request_id: str, *, prompt_ids, sampling_params, image_data=None, **_: Any) -> TokenOutput:
        self.prompts.append(list(prompt_ids))
        self.images.append(len(image_data or []))
        turn = next(self.turns, "")
        ids = turn if isinstance(turn, list) else self.tokenizer.encode(turn) + [self.tokenizer.eos_token_id]
        stops = sampling_params.get("stop_token_ids") or ()
        stop = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        ids = ids[: min(stop + 1, sampling_params["max_tokens"])]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), extra_fields={"global_steps": 1})


def compose_config(*overrides: str) -> DictConfig:
    """The configuration of a MAPO run with these overrides; every call returns a new copy."""
    return copy.deepcopy(_composed(overrides))


@lru_cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    base = [
        "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=4",
        "data.max_prompt_length=1024",
        "reward.description_alignment.scorer.model=org/name",
        "trainer.rollout_data_dir=null",
    ]
    with initialize_config_module("verl_mapo.config", version_base=None):
        return compose("run", [*base, "data.max_response_length=1024", *overrides])


def make_loop(model: Any, config: DictConfig, turns: list[str | list[int]]) -> VisualToolAgentLoop:
    """A loop as verl's worker builds it; to be called inside a running event loop."""
    return VisualToolAgentLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=ScriptedServer(model.tokenizer, turns),
        tokenizer=model.tokenizer,
        processor=model.processor,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type=model.model_type,
    )


def play(
    model: Any, config: DictConfig, prompt: list[dict], turns: list[str | list[int]], start: LoopState | None = None
) -> VisualToolOutput:
    """Roll one script out.

    Args:
        model: of the fixture ``model`` or ``tiny_models``.
        config: see :func:`compose_config`.
        prompt: the messages of a row.
        turns: the script.
        start: the state of a continuation; None to start from the prompt.
    """

    async def run() -> VisualToolOutput:
        loop = make_loop(model, config, turns)
        return await loop.run({"temperature": 1.0}, start=start, raw_prompt=prompt, global_steps=1)

    return asyncio.run(run())


def prompt_of(path: str, question: str = "What colour is the square?") -> list[dict]:
    """The messages of a row with one image."""
    content = [{"type": "image", "image": path}, {"type": "text", "text": question}]
    return [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": content}]


def verl_inputs(model: Any, output: VisualToolOutput) -> dict[str, torch.Tensor]:
    """The image features and position ids that verl's agent-loop worker computes of a finished rollout.

    The worker computes them twice, from tokens without a batch dimension for the reward and with one for the row.
    """
    worker = object.__new__(AgentLoopWorkerTQ.__ray_metadata__.modified_class)  # the class that runs
    worker.tokenizer, worker.processor = model.tokenizer, model.processor
    input_ids = torch.tensor([output.prompt_ids + output.response_ids])
    for tokens in (input_ids[0], input_ids):
        features = worker._compute_multi_modal_inputs(output, tokens)
    positions = worker._compute_position_ids(input_ids, torch.ones_like(input_ids), features)
    return {**features, "position_ids": positions}


def call(box=(10, 10, 40, 40), label="red square", name="zoom", **more) -> str:
    """The text of a turn with a thought and a call."""
    arguments = {"bbox_2d": list(box), **({} if label is None else {"label": label}), **more}
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<think>hm</think>\n<tool_call>\n{body}\n</tool_call>"


def assert_consistent(model, output) -> None:
    """Check what holds for every finished rollout."""
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) >= 1
    tokens = output.prompt_ids + output.response_ids
    image = model.processor.image_token_id
    runs = sum(token == image and before != image for before, token in zip([None, *tokens], tokens, strict=False))
    images = (output.multi_modal_data or {}).get("images", [])
    assert runs == len(images)
    side = image_token_side(model.processor.image_processor)
    assert tokens.count(image) == sum(image.width * image.height for image in images) // side**2
    trajectory = output.extra_fields[TRAJECTORY]
    assert isinstance(trajectory.end_reason, EndReason)
    sampled = [i for i, mask in enumerate(output.response_mask) if mask]
    spans = [i for turn in trajectory.turns for i in range(*turn.span)]
    assert sampled == [i for i in spans if i >= trajectory.prefix_length]
    assert trajectory.columns(4)["turn_spans"].shape == (4, 2)
