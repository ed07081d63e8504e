# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scores by CLIP, SigLIP or SigLIP2 through transformers: the cosine of text and image features."""

from __future__ import annotations

import os
import socket
from typing import Any

import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, BatchFeature

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.rewards.scorers.base import AlignmentScorer
from verl_mapo.rewards.scorers.fit import letterboxed
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError


class ClipScorer(AlignmentScorer):
    """Scores with a transformers model that has ``get_text_features`` and ``get_image_features``.

    A text that is longer than the text tower's number of positions is truncated; its end-of-text token is kept. The
    model sees the whole image, see :attr:`ScorerSettings.fit`.

    Args:
        settings: ``model``, ``fit``, ``target`` and ``dtype`` are read.

    Raises:
        ConfigError: the model cannot be loaded, or does not embed texts and images in one space.
    """

    def __init__(self, settings: ScorerSettings):
        self.device = settings.target
        if self.device != "cpu":
            _check_gpu(torch.device(self.device).index or 0, settings.device)
        folder = os.path.expanduser(settings.model)
        try:
            self.processor = AutoProcessor.from_pretrained(folder)
            model = AutoModel.from_pretrained(folder, dtype=getattr(torch, settings.dtype))
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"{ALIGNMENT_NODE}.scorer.model={settings.model!r} cannot be loaded: {reason}") from error
        if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
            raise ConfigError(
                f"{ALIGNMENT_NODE}.scorer.model={settings.model!r} is a {model.config.model_type}, which does not "
                "embed texts and images in one space; use a CLIP, SigLIP or SigLIP2."
            )
        self.model = model.to(self.device).eval()
        text = model.config.text_config
        # SigLIP pools the last position and was trained on padded texts; CLIP pools the end-of-text token.
        padding = "max_length" if model.config.model_type.startswith("siglip") else "longest"
        self.text_options = {"padding": padding, "truncation": True, "max_length": text.max_position_embeddings}
        self.fit, self.image_options = settings.fit, {}
        image_processor = self.processor.image_processor
        self.fill = tuple(round(255 * mean) for mean in image_processor.image_mean)
        if getattr(image_processor, "max_num_patches", None):
            self.fit = "model"  # SigLIP2's NaFlex has no square input: it takes every image whole and in its ratio
        elif self.fit != "model":
            self.image_options = {"do_center_crop": False, "size": _input_size(image_processor)}

    @torch.inference_mode()
    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        """See :meth:`AlignmentScorer.score`."""
        text_inputs = self.processor(text=texts, return_tensors="pt", **self.text_options).to(self.device)
        image_inputs = self.image_inputs(images).to(self.device, self.model.dtype)
        text_features = _features(self.model.get_text_features(**text_inputs))
        image_features = _features(self.model.get_image_features(**image_inputs))
        return torch.cosine_similarity(text_features, image_features, dim=-1).tolist()

    def image_inputs(self, images: list[Image.Image]) -> BatchFeature:
        """What the model gets of some images: ``pixel_values`` (images, 3, side, side), or patches for NaFlex."""
        shown = [letterboxed(image, self.fill) for image in images] if self.fit == "letterbox" else images
        return self.processor(images=shown, return_tensors="pt", **self.image_options)


def _check_gpu(index: int, device: str) -> None:
    """Check that this process sees the GPU with this number.

    Raises:
        ConfigError: it sees fewer.
    """
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= seen:
        raise ConfigError(
            f"{ALIGNMENT_NODE}.scorer.device={device!r} is refused: on {socket.gethostname()} the scorer sees "
            + (f"{seen} GPUs, numbered from 0; name one of them" if seen else "no GPU; set scorer.device=cpu")
            + "."
        )


def _input_size(image_processor: Any) -> dict[str, int]:
    """Height and width of the images that a processor makes."""
    cropped = getattr(image_processor, "do_center_crop", False)
    size = dict(image_processor.crop_size if cropped else image_processor.size)
    if "shortest_edge" in size:
        return {"height": size["shortest_edge"], "width": size["shortest_edge"]}
    return size


def _features(output: object) -> torch.Tensor:
    """(batch, width) float32. transformers 4 returns this tensor, transformers 5 an output object that holds it."""
    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features.float()
