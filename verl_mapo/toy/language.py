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
"""Supervised steps of the language model over a frozen tower's cached features."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from verl_mapo.toy.album import Features
from verl_mapo.toy.dialogue import Tokens


@dataclass(frozen=True)
class Pace:
    """Steps of AdamW with a short rise of the rate, then all of it (``constant``) or half a cosine."""

    steps: int
    batch: int
    rate: float
    schedule: Literal["constant", "cosine"] = "cosine"

    def optimizer(self, weights: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(weights, lr=self.rate, betas=(0.9, 0.98), weight_decay=0.01)

    def set(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the learning rate of a step, counted from 0."""
        progress = (step + 1) / self.steps
        share = min(1.0, progress / 0.05)
        if self.schedule == "cosine":
            share *= 0.05 + 0.475 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = self.rate * share


@dataclass
class Batch:
    """Right-padded token streams.

    Attributes:
        ids, trained: (batch, length).
        images: (image tokens, channels), in the order of the placeholders.
        positions: (3, batch, length), time, height and width.
        shared: how many tokens all rows have in common at their start.
    """

    ids: Tensor
    trained: Tensor
    images: Tensor
    positions: Tensor
    shared: int


def collate(model: PreTrainedModel, rows: list[Tokens], features: Features) -> Batch:
    """Stack token streams whose image keys are ``(scene, slot)``, slot None for the scene itself."""
    length = max(len(row.ids) for row in rows)
    padding = model.config.text_config.pad_token_id
    ids = torch.tensor([row.ids + [padding] * (length - len(row.ids)) for row in rows])
    trained = torch.tensor([row.trained + [False] * (length - len(row.trained)) for row in rows])
    images = [
        features.seen[scene] if slot is None else features.crops[scene, slot]
        for row in rows
        for scene, slot in row.images
    ]
    sides = [2 * math.isqrt(len(image)) for image in images]
    positions, _ = model.model.get_rope_index(
        ids,
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        image_grid_thw=torch.tensor([[1, side, side] for side in sides]),
    )
    shared = len(os.path.commonprefix([row.ids for row in rows]))
    first_image = min(row.ids.index(model.config.image_token_id) for row in rows)
    return Batch(ids, trained, torch.cat(images), positions, min(shared, first_image))


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Last hidden states after the shared start, (batch, length - shared, width).

    The shared start is computed once and its keys and values are given to every row: the same numbers and gradients as
    row by row, for a third of the work when the tools' declaration makes up most of a dialogue.
    """
    language = model.model.language_model
    embedded = model.get_input_embeddings()(batch.ids)
    placeholders = batch.ids == model.config.image_token_id
    pooled, *deepstack = batch.images.split(embedded.shape[-1], dim=-1)
    embedded = embedded.masked_scatter(placeholders[..., None], pooled)
    start, rest = slice(0, batch.shared), slice(batch.shared, None)
    levels = {}
    if deepstack:
        levels = {"visual_pos_masks": placeholders[:, rest], "deepstack_visual_embeds": deepstack}
    past = None
    if batch.shared:
        first = language(inputs_embeds=embedded[:1, start], position_ids=batch.positions[:, :1, start], use_cache=True)
        past = first.past_key_values
        past.batch_repeat_interleave(len(batch.ids))
    return language(
        inputs_embeds=embedded[:, rest],
        position_ids=batch.positions[:, :, rest],
        past_key_values=past,
        use_cache=past is not None,
        **levels,
    ).last_hidden_state


def written(hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Hidden states at which the model writes, (tokens, width), and what it has to write there, (tokens,)."""
    ids, trained = batch.ids[:, batch.shared :], batch.trained[:, batch.shared :]
    return hidden[:, :-1][trained[:, 1:]], ids[:, 1:][trained[:, 1:]]


def fit(model: PreTrainedModel, draw: Callable[[], Tokens], features: Features, pace: Pace, title: str) -> None:
    """Train the language model alone on rows that ``draw`` gives."""
    model.train()
    weights = list(model.model.language_model.parameters())
    optimizer = pace.optimizer(weights)
    bar = tqdm(range(pace.steps), desc=title, unit="step")
    for step in bar:
        pace.set(optimizer, step)
        batch = collate(model, [draw() for _ in range(pace.batch)], features)
        states, targets = written(hidden_states(model, batch), batch)
        logits = model.lm_head(states)
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % 10 == 9:
            right = (logits.argmax(-1) == targets).float().mean()
            bar.set_postfix(loss=f"{loss.item():.3f}", right=f"{right.item():.2f}")
