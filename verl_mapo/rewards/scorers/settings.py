# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the alignment scorer: the node ``reward.description_alignment.scorer`` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from verl_mapo.endpoint import Retries, Seconds, base_url
from verl_mapo.rewards.scorers.fit import Fit
from verl_mapo.settings import STRICT, local_path

NO_SCORER = "none"
"""The value of ``kind`` with which every visual turn is unscored."""

_WITHOUT_SCORER = {"device": ("auto", "cpu"), "replicas": (1,), "num_gpus": (0,)}
"""What settings may be with ``kind=none``."""

_NUMBERED_GPU = re.compile(r"cuda:(0|[1-9]\d*)")
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, config=STRICT)
class ScorerSettings:
    """Which scorer computes the alignment of a text and an image, and where it runs.

    Attributes:
        kind: ``clip`` (CLIP, SigLIP or SigLIP2 through transformers), ``http`` (an OpenAI-compatible embeddings
            server), ``none`` (nothing is scored, for evaluations that need no alignment), or the dotted path of an
            :class:`~verl_mapo.rewards.scorers.base.AlignmentScorer`.
        model: ``clip``: folder or hub name; ``http``: the name under which the server serves the model.
        url: ``http``: the base URL, ending in ``/v1``.
        api_key_env: ``http``: name of the environment variable that holds the key; None sends no key.
        fit: how an image that is not square is given to a model with a square input: ``stretch`` resizes it to the
            square, ``letterbox`` pads it with the model's mean colour, and ``model`` leaves it to the model's own
            preprocessing, which in the released CLIPs cuts off the ends of the longer side. SigLIP2's NaFlex has no
            square input; it gets every image whole and in its ratio.
        device: ``cpu``, ``cuda``, or ``cuda:N`` for the GPU with this number on each node; see :attr:`target` for
            ``auto``. GPUs need ``placement=actor``.
        dtype: data type of the weights; the cosine itself is computed in float32.
        placement: ``worker``: one scorer in every reward worker; ``actor``: named Ray actors that all of them share.
        replicas: number of these actors, each with a copy of the model, spread over the nodes and their GPUs.
        num_gpus: share of a GPU that Ray reserves for each actor, beside the GPUs of training. 0 reserves nothing: on
            ``cuda`` the actors then use the GPUs of training.
        max_batch: largest number of pairs scored in one call.
        max_wait_ms: how long a batch that is not full waits for more pairs, in milliseconds.
        timeout_s: longest time that one call may take, in seconds; its pairs are then unscored.
        retries: how often a failed call is repeated, each time with its batch cut in half; ``http``: also how often a
            failed request is sent again.
        options: settings that a scorer from another package defines in its ``Options``. The scorer itself gets them as
            an object of that class.
    """

    kind: str = "clip"
    model: str | None = Field(default=None, validate_default=True)
    url: str | None = Field(default=None, validate_default=True)
    api_key_env: str | None = None
    fit: Fit = "stretch"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    placement: Literal["worker", "actor"] = Field(default="worker", validate_default=True)
    replicas: PositiveInt = 1
    num_gpus: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_batch: PositiveInt = 64
    max_wait_ms: Annotated[float, Field(ge=0, le=10_000)] = 5.0
    timeout_s: Seconds = 30.0
    retries: Retries = 2
    options: Any = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _none_in_small_letters(cls, kind: str) -> str:
        if kind != NO_SCORER and kind.lower() == NO_SCORER:
            raise ValueError(f"it should be {NO_SCORER!r}, in small letters")
        return kind

    @field_validator("device", "replicas", "num_gpus")
    @classmethod
    def _used_by_a_scorer(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("kind") == NO_SCORER and value not in _WITHOUT_SCORER[info.field_name]:
            raise ValueError("kind='none' scores nothing; remove this setting, or set kind='clip' and a model")
        return value

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if kind in ("clip", "http") and not model:
            example = "a folder or a hub name" if kind == "clip" else "the name under which the server serves it"
            raise ValueError(f"kind={kind!r} needs a model, {example}, for example 'openai/clip-vit-base-patch32'")
        if kind == "clip":
            folder = local_path(model)
            is_hub_name = _HUB_NAME.fullmatch(model) and not folder.exists()
            if not is_hub_name and not (folder / "config.json").is_file():
                raise ValueError("it is neither a folder with a config.json nor a hub name such as 'org/name'")
        return model

    @field_validator("url")
    @classmethod
    def _url_of_http(cls, url: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if kind == "http":
            return base_url(url)
        if kind == "clip" and url is not None:
            raise ValueError("kind='clip' uses no server; remove the URL or set kind='http'")
        return url

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if device not in ("auto", "cpu", "cuda") and not _NUMBERED_GPU.fullmatch(device):
            raise ValueError("it should be 'auto', 'cpu', 'cuda', or a GPU with its number, such as 'cuda:1'")
        return device

    @field_validator("placement")
    @classmethod
    def _one_client(cls, placement: str, info: ValidationInfo) -> str:
        if placement == "actor":
            if info.data.get("kind") == NO_SCORER:
                raise ValueError("kind='none' scores nothing, so that no actor is needed; set placement='worker'")
            return placement
        if info.data.get("kind") == "http":
            raise ValueError(
                "kind='http' needs placement='actor', because vLLM returns wrong text embeddings when texts and images "
                "of several clients meet in one of its batches"
            )
        if (device := info.data.get("device", "")).startswith("cuda"):
            raise ValueError(
                f"device={device!r} would put a copy of every reward worker of a node on the same GPU; set "
                "placement='actor', or device='cpu'"
            )
        return placement

    @field_validator("replicas")
    @classmethod
    def _copies_in_actors(cls, replicas: int, info: ValidationInfo) -> int:
        if replicas > 1 and info.data.get("placement") == "worker":
            raise ValueError("placement='worker' has one copy in every reward worker; set placement='actor'")
        if replicas > 1 and info.data.get("kind") == "http":
            raise ValueError(
                "kind='http' needs one client, because vLLM returns wrong text embeddings when texts and images of "
                "several clients meet in one of its batches; set replicas=1"
            )
        return replicas

    @field_validator("num_gpus")
    @classmethod
    def _gpu_of_actor(cls, num_gpus: float, info: ValidationInfo) -> float:
        if not num_gpus:
            return num_gpus
        if info.data.get("placement") == "worker":
            raise ValueError("a reward worker holds no GPU; set placement='actor', or num_gpus=0")
        if info.data.get("kind") == "http":
            raise ValueError("kind='http' scores on its server; set num_gpus=0")
        if info.data.get("device") not in ("auto", "cuda", None):
            raise ValueError(
                f"device={info.data['device']!r} leaves no use for the GPU that Ray would choose; set device='cuda', "
                "or num_gpus=0"
            )
        return num_gpus

    @field_validator("options")
    @classmethod
    def _mapping_or_parsed(cls, options: Any) -> Any:
        if not isinstance(options, Mapping) and not is_dataclass(options):
            raise ValueError("it should be a mapping of the scorer's own options, such as {name: value}")
        return options

    @property
    def target(self) -> str:
        """``device``, where ``auto`` is cuda for a scorer that holds a share of a GPU, and cpu for any other."""
        if self.device == "auto":
            return "cuda" if self.num_gpus else "cpu"
        return self.device
