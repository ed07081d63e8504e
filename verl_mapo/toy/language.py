# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised training of the language model on the cached features of a frozen vision tower."""

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

from verl_mapo.toy.dialogue import Tokens
from verl_mapo.toy.scene_images import SceneFeatures


@dataclass(frozen=True)
class Stage:
    """One stage of training with AdamW.

    Attributes:
        steps: number of optimizer steps.
        batch: examples in a step.
        rate: highest learning rate, reached after 5 % of the steps.
        schedule: learning rate after that: ``constant``, or ``cosine`` down to 5 % of ``rate``.
    """

    steps: int
    batch: int
    rate: float
    schedule: Literal["constant", "cosine"] = "cosine"

    def optimizer(self, weights: Iterable[Tensor]) -> torch.optim.Optimizer:
        """AdamW over these weights."""
        return torch.optim.AdamW(weights, lr=self.rate, betas=(0.9, 0.98), weight_decay=0.01)

    def set_rate(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the optimizer's learning rate for a step; steps count from 0."""
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
        ids: (batch, length) int64 token ids.
        trained: (batch, length) bool, whether the model writes the token.
        images: (image tokens, channels) float32, in the order of the placeholders.
        positions: (3, batch, length) int64, position in time, height and width.
        shared: number of tokens before the first image with which every row begins.
    """

    ids: Tensor
    trained: Tensor
    images: Tensor
    positions: Tensor
    shared: int


def collate(model: PreTrainedModel, rows: list[Tokens], features: SceneFeatures) -> Batch:
    """Stack token streams.

    Args:
        model: the vision-language model, which computes the positions.
        rows: token streams with the image keys ``(scene, crop)``; crop is None for the scene itself.
        features: the tower's output for these images.
    """
    length = max(len(row.ids) for row in rows)
    padding = model.config.text_config.pad_token_id
    ids = torch.tensor([row.ids + [padding] * (length - len(row.ids)) for row in rows])
    trained = torch.tensor([row.trained + [False] * (length - len(row.trained)) for row in rows])
    images = [
        features.scenes[scene] if crop is None else features.crops[scene, crop]
        for row in rows
        for scene, crop in row.images
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

    The shared start is computed once, and every row uses its keys and values. The values and gradients are the same as
    without sharing, at a third of the cost where the tools' declaration is most of a dialogue.
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


def states_and_targets(hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Hidden states that predict the trained tokens, (tokens, width), and the ids of these tokens, (tokens,).

    Args:
        hidden: (batch, length - shared, width), from :func:`hidden_states`.
        batch: the batch of these states.
    """
    ids, trained = batch.ids[:, batch.shared :], batch.trained[:, batch.shared :]
    return hidden[:, :-1][trained[:, 1:]], ids[:, 1:][trained[:, 1:]]


def fit(model: PreTrainedModel, draw: Callable[[], Tokens], features: SceneFeatures, stage: Stage, title: str) -> None:
    """Train the language model; the vision tower is frozen.

    Args:
        model: the vision-language model.
        draw: draws one token stream.
        features: the tower's output for the images of the token streams.
        stage: steps, batch size and learning rate.
        title: title of the progress bar.
    """
    model.train()
    weights = list(model.model.language_model.parameters())
    optimizer = stage.optimizer(weights)
    bar = tqdm(range(stage.steps), desc=title, unit="step")
    for step in bar:
        stage.set_rate(optimizer, step)
        batch = collate(model, [draw() for _ in range(stage.batch)], features)
        states, targets = states_and_targets(hidden_states(model, batch), batch)
        logits = model.lm_head(states)
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % 10 == 9:
            right = (logits.argmax(-1) == targets).float().mean()
            bar.set_postfix(loss=f"{loss.item():.3f}", right=f"{right.item():.2f}")
