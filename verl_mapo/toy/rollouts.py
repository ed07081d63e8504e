# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of a toy model with transformers alone: the loop's tool and tokens, without verl and without a server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel

from verl_mapo.rollout.parser import ToolCall, read_calls
from verl_mapo.tools.base import ArgumentError
from verl_mapo.tools.coordinates import BoxError
from verl_mapo.tools.image_history import ImageHistory
from verl_mapo.toy.dialogue import DialogueWriter
from verl_mapo.toy.visual_search import Scene, VisualSearch

_ANSWER = re.compile(r"<answer>(.*?)</answer>")
_MAX_TOKENS = 64


@dataclass
class Rollout:
    """One rollout with at most one tool call.

    Attributes:
        scene: the scene with its question.
        history: the scene's image and, after a call, the crop, as seen.
        ids: token ids of prompt, turns and observation, without padding.
        policy: whether the model wrote the token.
        text: text of the last turn.
        called: whether the first turn held a tool call that was executed.
        answer: the answer; None if the last turn holds no answer in the correct form.
    """

    scene: Scene
    history: ImageHistory
    ids: list[int] = field(default_factory=list)
    policy: list[bool] = field(default_factory=list)
    text: str = ""
    called: bool = False
    answer: str | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is correct."""
        return self.answer == self.scene.question.answer

    def add(self, ids: list[int], policy: bool) -> None:
        """Append tokens, all of them written by the model or none."""
        self.ids += ids
        self.policy += [policy] * len(ids)


def roll_out(
    model: PreTrainedModel,
    writer: DialogueWriter,
    task: VisualSearch,
    scenes: int,
    temperature: float,
    seed: int = 0,
    batch: int = 64,
) -> list[Rollout]:
    """Roll the model out once on each scene of the ``evaluation`` split.

    Args:
        model: the model in evaluation mode.
        writer: a writer with the model's processor and family.
        task: settings of the scenes.
        scenes: number of scenes.
        temperature: temperature of sampling; 0 is greedy.
        seed: seed of the scenes and of sampling.
        batch: number of rollouts that are generated at once.
    """
    torch.manual_seed(seed)
    rollouts = []
    for start in range(0, scenes, batch):
        part = [_open(writer, task.scene(seed, "evaluation", i)) for i in range(start, min(start + batch, scenes))]
        _generate_turn(model, writer, part, temperature)
        calling = [rollout for rollout in part if _execute_call(writer, rollout)]
        if calling:
            _generate_turn(model, writer, calling, temperature)
        for rollout in part:
            found = _ANSWER.search(rollout.text)
            rollout.answer = found.group(1) if found else None
        rollouts += part
    return rollouts


def pixels(writer: DialogueWriter, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """A model's image inputs for images that have their final size."""
    return dict(writer.processor.image_processor(images=images, do_resize=False, return_tensors="pt"))


def _open(writer: DialogueWriter, scene: Scene) -> Rollout:
    rollout = Rollout(scene, writer.image_history(scene.image))
    prompt = writer.write([(writer.prompt(scene.question.text), False)], [(0, rollout.history.images[0].size)])
    rollout.add(prompt.ids, policy=False)
    return rollout


@torch.no_grad()
def _generate_turn(model: PreTrainedModel, writer: DialogueWriter, rollouts: list[Rollout], temperature: float) -> None:
    """Generate the next turn of each rollout."""
    tokenizer = writer.processor.tokenizer
    length = max(len(rollout.ids) for rollout in rollouts)
    lengths = torch.tensor([len(rollout.ids) for rollout in rollouts])
    ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(row.ids)) + row.ids for row in rollouts])
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    generated = model.generate(
        input_ids=ids,
        attention_mask=(torch.arange(length) >= length - lengths[:, None]).long(),
        mm_token_type_ids=(ids == writer.image_token).int(),
        max_new_tokens=_MAX_TOKENS,
        **pixels(writer, [image for rollout in rollouts for image in rollout.history.images]),
        **sampling,
    )
    for rollout, row in zip(rollouts, generated[:, length:].tolist(), strict=True):
        end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
        rollout.add(row[:end], policy=True)
        rollout.text = tokenizer.decode(row[:end], skip_special_tokens=True)


def _execute_call(writer: DialogueWriter, rollout: Rollout) -> bool:
    """Execute the call in the latest turn; False if there is none or it is invalid."""
    call = next(iter(read_calls(rollout.text)), None)
    if not isinstance(call, ToolCall) or call.name != writer.zoom.name:
        return False
    try:
        image = writer.zoom.run(writer.zoom.parse(call.arguments), rollout.history)
    except (ArgumentError, BoxError):
        return False
    rollout.history.add(image)
    size = image.view.size
    rollout.add(writer.write([(writer.observation(size), False)], [(1, size)]).ids, policy=False)
    rollout.called = True
    return True
