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
"""How far a model folder is on the task, by transformers alone: the loop's tool and tokens without verl and servers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from verl_mapo.rollout.parser import ToolCall, parse_call
from verl_mapo.tools.base import ArgumentError
from verl_mapo.tools.coordinates import BoxError
from verl_mapo.tools.image_history import ImageHistory
from verl_mapo.toy.dialogue import Script
from verl_mapo.toy.visual_search import Scene, VisualSearch

_ANSWER = re.compile(r"<answer>(.*?)</answer>")
_MAX_TOKENS = 64
HELD = 0.9
"""Share of the target that a crop has to show to hold it."""


@dataclass(frozen=True)
class Figures:
    """Shares of the scenes.

    Attributes:
        call: the first turn is a call that was carried out.
        hit: its crop holds the target.
        form: the trajectory ends in an answer of the right form.
        right: the answer is right.
    """

    scenes: int
    call: float
    hit: float
    form: float
    right: float


@dataclass
class Rollout:
    """What the model wrote about a scene.

    Attributes:
        gallery: the scene and the crop, as seen.
        ids: prompt, turns and observation, without padding.
        policy: which of them the model wrote.
        text: of the last turn.
        called, hit: as in :class:`Figures`.
        answer: None without one of the right form.
    """

    scene: Scene
    gallery: ImageHistory
    ids: list[int] = field(default_factory=list)
    policy: list[bool] = field(default_factory=list)
    text: str = ""
    called: bool = False
    hit: bool = False
    answer: str | None = None

    @property
    def right(self) -> bool:
        return self.answer == self.scene.question.answer

    def add(self, ids: list[int], policy: bool) -> None:
        self.ids += ids
        self.policy += [policy] * len(ids)


def evaluate(
    folder: Path, task: VisualSearch, scenes: int, temperature: float, seed: int = 0, batch: int = 64
) -> Figures:
    """Roll the model out once on scenes of the ``evaluation`` split, with at most one call.

    Args:
        temperature: 0 is greedy.
    """
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    rollouts = roll_out(model, Script(processor, model.config.model_type), task, scenes, temperature, seed, batch)
    right = [rollout.right for rollout in rollouts]
    form = [rollout.answer is not None for rollout in rollouts]
    shares = [[rollout.called for rollout in rollouts], [rollout.hit for rollout in rollouts], form, right]
    return Figures(scenes, *(sum(share) / scenes for share in shares))


def roll_out(
    model: PreTrainedModel,
    script: Script,
    task: VisualSearch,
    scenes: int,
    temperature: float,
    seed: int = 0,
    batch: int = 64,
) -> list[Rollout]:
    """The rollouts behind :func:`evaluate`, one for each scene.

    Args:
        model: in evaluation mode.
        script: of the model's processor and family.
    """
    torch.manual_seed(seed)
    rollouts = []
    for start in range(0, scenes, batch):
        part = [_open(script, task.scene(seed, "evaluation", i)) for i in range(start, min(start + batch, scenes))]
        _write_on(model, script, part, temperature)
        calling = [rollout for rollout in part if _act(script, rollout)]
        if calling:
            _write_on(model, script, calling, temperature)
        for rollout in part:
            found = _ANSWER.search(rollout.text)
            rollout.answer = found.group(1) if found else None
        rollouts += part
    return rollouts


def pixels(script: Script, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """What a model takes for images, as seen."""
    return dict(script.processor.image_processor(images=images, do_resize=False, return_tensors="pt"))


def _open(script: Script, scene: Scene) -> Rollout:
    rollout = Rollout(scene, script.gallery(scene.image))
    prompt = script.write([(script.prompt(scene.question.text), False)], [(0, rollout.gallery.images[0].size)])
    rollout.add(prompt.ids, policy=False)
    return rollout


@torch.no_grad()
def _write_on(model: PreTrainedModel, script: Script, rollouts: list[Rollout], temperature: float) -> None:
    """Let the model write one turn of each rollout."""
    tokenizer = script.processor.tokenizer
    length = max(len(rollout.ids) for rollout in rollouts)
    lengths = torch.tensor([len(rollout.ids) for rollout in rollouts])
    ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(row.ids)) + row.ids for row in rollouts])
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    written = model.generate(
        input_ids=ids,
        attention_mask=(torch.arange(length) >= length - lengths[:, None]).long(),
        mm_token_type_ids=(ids == script.image_token).int(),
        max_new_tokens=_MAX_TOKENS,
        **pixels(script, [image for rollout in rollouts for image in rollout.gallery.images]),
        **sampling,
    )
    for rollout, row in zip(rollouts, written[:, length:].tolist(), strict=True):
        end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
        rollout.add(row[:end], policy=True)
        rollout.text = tokenizer.decode(row[:end], skip_special_tokens=True)


def _act(script: Script, rollout: Rollout) -> bool:
    """Carry out the call of the turn just written; False when there is none that can be."""
    call = parse_call(rollout.text)
    if not isinstance(call, ToolCall) or call.name != script.zoom.name:
        return False
    try:
        sight = script.zoom.look(script.zoom.parse(call.arguments), rollout.gallery)
    except (ArgumentError, BoxError):
        return False
    rollout.gallery.add(sight)
    size = sight.view.size
    rollout.add(script.write([(script.observation(size), False)], [(1, size)]).ids, policy=False)
    target = rollout.scene.question.target
    rollout.called = True
    rollout.hit = target is not None and _share(target.box, sight.view.region) >= HELD
    return True


def _share(box: tuple[int, int, int, int], region: tuple[int, int, int, int]) -> float:
    """Share of a box that lies inside a region."""
    width = max(0, min(box[2], region[2]) - max(box[0], region[0]))
    height = max(0, min(box[3], region[3]) - max(box[1], region[1]))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))
