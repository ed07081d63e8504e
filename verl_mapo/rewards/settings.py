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
"""Settings of the description-alignment reward: the node ``reward.description_alignment`` of the configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.rewards.scorers.base import scorer_class
from verl_mapo.settings import STRICT, ConfigError, parse, select

NODE = ALIGNMENT_NODE

Style = Literal["exact", "multiple_choice", "numeric", "math"]
Retries = Annotated[int, Field(ge=0, le=10)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, config=STRICT)
class ScorerSettings:
    """What scores the alignment of a text and a crop, and where it runs.

    Attributes:
        kind: ``clip`` (CLIP, SigLIP, SigLIP2 through transformers), ``http`` (an OpenAI-compatible embeddings
            server), or the dotted path of an :class:`~verl_mapo.rewards.scorers.base.AlignmentScorer`.
        model: ``clip``: folder or hub name; ``http``: the name under which the server serves the model.
        url: ``http``: the base URL, up to and with ``/v1``.
        api_key_env: ``http``: name of the environment variable that holds the key; None sends no key.
        device: ``auto`` is cuda in an actor that holds a share of a GPU, and cpu elsewhere.
        dtype: of the weights; the cosine itself is taken in float32.
        placement: ``worker``: one scorer in every reward worker; ``actor``: one named Ray actor that all of them share.
        num_gpus: share of a GPU that the actor holds.
        max_batch: pairs scored in one call.
        max_wait_ms: how long a call waits for more pairs to come, in milliseconds.
        timeout_s: longest time one call may take, in seconds; its pairs are then unscored.
        retries: how often a call that fails is tried again, in halves.
    """

    kind: str = "clip"
    model: str | None = Field(default=None, validate_default=True)
    url: str | None = Field(default=None, validate_default=True)
    api_key_env: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    placement: Literal["worker", "actor"] = Field(default="worker", validate_default=True)
    num_gpus: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_batch: PositiveInt = 64
    max_wait_ms: Annotated[float, Field(ge=0, le=10_000)] = 5.0
    timeout_s: Seconds = 30.0
    retries: Retries = 2

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        scorer_class(kind)
        return kind

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if kind in ("clip", "http") and not model:
            example = "a folder or a hub name" if kind == "clip" else "the name the server serves it under"
            raise ValueError(f"kind={kind!r} needs a model, {example}, for example 'openai/clip-vit-base-patch32'")
        if kind == "clip" and not (Path(model).expanduser() / "config.json").is_file():
            if os.path.exists(os.path.expanduser(model)) or not _HUB_NAME.fullmatch(model):
                raise ValueError("it is neither a folder with a config.json nor a hub name such as 'org/name'")
        return model

    @field_validator("url")
    @classmethod
    def _url_of_http(cls, url: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if kind == "http":
            return _http_url(url)
        if kind == "clip" and url is not None:
            raise ValueError("kind='clip' asks no server; remove it or set kind='http'")
        return url

    @field_validator("placement")
    @classmethod
    def _one_client(cls, placement: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == "http" and placement != "actor":
            raise ValueError(
                "kind='http' needs placement='actor', because vLLM returns wrong text embeddings when texts and images "
                "of several clients meet in one of its batches"
            )
        return placement

    @field_validator("num_gpus")
    @classmethod
    def _gpu_of_actor(cls, num_gpus: float, info: ValidationInfo) -> float:
        if num_gpus and info.data.get("placement") == "worker":
            raise ValueError("a reward worker holds no GPU; set placement='actor', or num_gpus=0")
        return num_gpus


@dataclass(frozen=True, config=STRICT)
class JudgeSettings:
    """A model that is asked whether an answer is right where the rule says it is not.

    Attributes:
        url: base URL of an OpenAI-compatible server, up to and with ``/v1``.
        model: the name under which the server serves it.
        api_key_env: name of the environment variable that holds the key; None sends no key.
        timeout_s: longest time one request may take, in seconds.
        retries: how often a request that fails is sent again.
        concurrency: requests of one reward worker that may be under way at once.
    """

    url: str
    model: str
    api_key_env: str | None = None
    timeout_s: Seconds = 30.0
    retries: Retries = 2
    concurrency: PositiveInt = 16

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _http_url(url)


@dataclass(frozen=True, config=STRICT)
class DescriptionAlignmentSettings:
    """Settings of :class:`verl_mapo.rewards.manager.DescriptionAlignmentRewardManager`.

    Attributes:
        outcome: how an answer is compared with the ground truth; ``auto`` takes the row's
            ``reward_model["style"]`` where that names a comparison, and ``exact`` elsewhere.
        tolerance: of ``numeric``, relative to the ground truth.
        scorer: see :class:`ScorerSettings`.
        judge: see :class:`JudgeSettings`; None is off.
    """

    NODE: ClassVar[str] = ALIGNMENT_NODE

    outcome: Literal["auto", Style] = "auto"
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    scorer: ScorerSettings = Field(default_factory=dict, validate_default=True)
    judge: JudgeSettings | None = None


def alignment_settings(config: Any) -> DescriptionAlignmentSettings:
    """Read the node from a whole hydra configuration; nothing is loaded or contacted.

    Raises:
        ConfigError: with one sentence for every fault found.
    """
    settings = parse(DescriptionAlignmentSettings, config)
    custom = select(config, "reward.custom_reward_function.path")
    if custom is not None and (settings.judge is not None or settings.outcome != "auto"):
        raise ConfigError(
            f"reward.custom_reward_function.path={custom!r} decides the outcome alone: remove {NODE}.judge and "
            f"{NODE}.outcome, or the function."
        )
    return settings


def api_key(variable: str | None) -> str:
    """The key in an environment variable of this process, or a placeholder where none is asked for.

    Raises:
        ConfigError: the variable is not set.
    """
    if variable is None:
        return "none"
    if variable not in os.environ:
        raise ConfigError(
            f"{NODE}: api_key_env={variable!r} is not set in the environment of the process that needs it; "
            "forward it to Ray's workers through ray_kwargs.ray_init.runtime_env.env_vars."
        )
    return os.environ[variable]


def _http_url(url: str | None) -> str:
    if not url or not re.match(r"https?://[^/\s]+", url):
        raise ValueError("it should be the base URL of an OpenAI-compatible server, such as 'http://127.0.0.1:8000/v1'")
    return url
