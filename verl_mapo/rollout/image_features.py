# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Image features and position ids of a finished rollout, and the numbers of tokens of its images.

:class:`verl_mapo.rollout.loop.VisualToolAgentLoop` computes features and position ids once, in a thread, and
:mod:`verl_mapo.rollout.worker_features` hands them to verl's worker. Numbers of tokens do not depend on pixels:
Continuous Token counts them with :func:`without_pixels`.
"""

from __future__ import annotations

import copy
import inspect
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from types import SimpleNamespace
from typing import Any

import torch
import wrapt
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from verl.utils.tokenizer import build_multimodal_processor_inputs
from verl.utils.torch_dtypes import PrecisionType

from verl_mapo.names import ENGINES

PIXELS, GRIDS = "pixel_values", "image_grid_thw"
POSITION_IDS = "position_ids"
"""Key under which the position ids lie among the features until verl asks for them."""

KEPT_BYTES = 2**28
"""Most bytes of features that an agent-loop worker keeps for further rollouts [ours]: 20 originals of a megapixel."""

_OF_TEXT = ("input_ids", "attention_mask")


def feature_dtype(config: DictConfig) -> torch.dtype:
    """The dtype in which pixel values travel: that to which FSDP casts them at the entry of the model, or float32.

    FSDP casts the inputs of actor and reference to ``mixed_precision.param_dtype``, which is bfloat16 unless it is set.
    A cast before that changes no log-prob: the pixels are rounded once either way.

    Args:
        config: the whole configuration.
    """
    models = config.actor_rollout_ref
    critic = config.critic.enable or config.algorithm.adv_estimator == "gae"
    if critic or models.actor.strategy not in ENGINES:
        return torch.float32
    found = set()
    for node in (models.actor.fsdp_config, models.ref.fsdp_config):
        precision = node.get("mixed_precision") or {}
        found.add(PrecisionType.to_dtype(precision.get("param_dtype", "bf16")))
    return found.pop() if len(found) == 1 else torch.float32


class FeatureStore:
    """The features of the images of rollouts. Those of an image that several rollouts show are computed once.

    They are kept as long as the image is, and as long as all that are kept take at most :data:`KEPT_BYTES`. All methods
    may be called in several threads at once.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.kept_bytes = kept_bytes
        self._kept: OrderedDict[int, _Entry] = OrderedDict()
        self._lock = Lock()

    def of(
        self,
        processor: Any,
        images: Sequence[Image.Image],
        shared: int,
        kwargs: Mapping[str, Any],
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """verl's ``multi_modal_inputs`` of some images; an empty text gives the rest of the processor's output.

        Args:
            processor: the model's processor.
            images: RGB images of the size at which the model sees them.
            shared: number of images, from the first, that other rollouts may show as well: their features are kept.
            kwargs: verl's ``data.mm_processor_kwargs``.
            dtype: of the pixel values.

        Returns:
            ``pixel_values`` of shape (patches, values of a patch), ``image_grid_thw`` of shape (images, 3) int64,
            ``images_seqlens`` of shape (images,) int64, and what else the processor returns.
        """
        if not images:
            return _features(processor, None, kwargs, dtype)
        parts = [
            self._of_shared(processor, image, kwargs, dtype)
            if index < shared
            else _features(processor, image, kwargs, dtype)
            for index, image in enumerate(images)
        ]
        grids = torch.cat([part[GRIDS] for part in parts])
        seqlens = torch.repeat_interleave(grids[:, 1] * grids[:, 2], grids[:, 0])
        pixels = torch.cat([part[PIXELS] for part in parts])
        return {**parts[0], PIXELS: pixels, GRIDS: grids, "images_seqlens": seqlens}

    def _of_shared(
        self, processor: Any, image: Image.Image, kwargs: Mapping[str, Any], dtype: torch.dtype
    ) -> dict[str, Tensor]:
        key = id(image)  # Pillow compares images by their pixels, and they have no hash
        made_with = (processor, dict(kwargs), dtype)
        with self._lock:
            entry = self._kept.get(key)
            if entry is None or entry.image() is not image or entry.made_with != made_with:
                image_reference = weakref.ref(image, lambda _: self._kept.pop(key, None))
                entry = self._kept[key] = _Entry(image_reference, made_with)
            self._kept.move_to_end(key)
        with entry.lock:
            if entry.features is None:
                entry.features = _features(processor, image, kwargs, dtype)
        with self._lock:
            self._evict(key)
        return entry.features

    def _evict(self, used: int) -> None:
        """Forget the features that were used longest ago, until the others are few enough; those just used stay."""
        total = sum(entry.size for entry in list(self._kept.values()))
        for key in [key for key in list(self._kept) if key != used]:
            if total <= self.kept_bytes:
                break
            entry = self._kept.pop(key, None)
            total -= entry.size if entry else 0


class _Entry:
    """The features of one image, None until they are computed, and what decides on them beside it."""

    def __init__(self, image: weakref.ref, made_with: tuple[Any, dict[str, Any], torch.dtype]):
        self.image = image
        self.made_with = made_with
        self.lock = Lock()
        self.features: dict[str, Tensor] | None = None

    @property
    def size(self) -> int:
        return self.features[PIXELS].nbytes if self.features else 0


def _features(
    processor: Any, image: Image.Image | None, kwargs: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Tensor]:
    """The features of one image, or the processor's output without any."""
    images = None if image is None else [image]
    found = build_multimodal_processor_inputs(processor, text=[""], images=images, mm_processor_kwargs=kwargs)
    features = {name: value for name, value in found.convert_to_tensors("pt").items() if name not in _OF_TEXT}
    if image is not None:
        features[PIXELS] = features[PIXELS].to(dtype)
    return features


def position_ids(processor: Any, token_ids: Sequence[int], features: Mapping[str, Tensor]) -> Tensor:
    """verl's position ids of a rollout: (1, 4, tokens) int64, or (1, tokens) for a model without M-RoPE.

    Args:
        processor: the model's processor.
        token_ids: prompt and response.
        features: of its images, see :meth:`FeatureStore.of`.
    """
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker  # late, because its import imports this module

    compute = inspect.unwrap(AgentLoopWorker._compute_position_ids)
    tokens = torch.tensor([token_ids])
    return compute(SimpleNamespace(processor=processor), tokens, torch.ones_like(tokens), dict(features))


class _Grids(wrapt.ObjectProxy):
    """An image processor that returns the grids of images, whose sizes it would keep, and does not read a pixel."""

    def __call__(self, images: Sequence[Image.Image], **_: Any) -> BatchFeature:
        side = self.patch_size
        return BatchFeature({GRIDS: torch.tensor([[1, image.height // side, image.width // side] for image in images])})


def without_pixels(processor: Any) -> Any:
    """A processor for tokens alone. Its images must have the size at which the model sees them."""
    counting = copy.copy(processor)
    counting.image_processor = _Grids(processor.image_processor)
    return counting
