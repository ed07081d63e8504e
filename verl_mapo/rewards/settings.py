# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the description-alignment reward: the node ``reward.description_alignment`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt, field_validator
from pydantic.dataclasses import dataclass

from verl_mapo.endpoint import Retries, Seconds, base_url
from verl_mapo.names import ALIGNMENT_NODE, CUSTOM_REWARD_FUNCTION
from verl_mapo.rewards.answers import find_check
from verl_mapo.rewards.scorers.base import check_scorer
from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import STRICT, ConfigError, parse, select

AUTO = "auto"
"""The value of ``outcome`` that lets every row choose its answer check."""


@dataclass(frozen=True, config=STRICT)
class JudgeSettings:
    """A model that judges the answers which the answer check rejects.

    An answer on which it gives no verdict has no outcome: the rollout is not trained on, and more of them in a step
    than ``visual_tool.max_errors`` stop the run.

    Attributes:
        url: base URL of an OpenAI-compatible server, ending in ``/v1``.
        model: the name under which the server serves the model.
        api_key_env: name of the environment variable that holds the key; None sends no key.
        timeout_s: longest time that one attempt may take, in seconds; all attempts together, with the pauses between
            them, may take ``retries`` + 1 times as long.
        retries: how often a failed request is sent again.
        concurrency: largest number of requests of one reward worker at the same time.
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
        return base_url(url)


@dataclass(frozen=True, config=STRICT)
class DescriptionAlignmentSettings:
    """Settings of :class:`verl_mapo.rewards.manager.DescriptionAlignmentRewardManager`.

    Attributes:
        outcome: the answer check of all rows: ``exact``, ``multiple_choice``, ``numeric``, ``math`` or the dotted path
            of an :class:`~verl_mapo.rewards.answers.AnswerCheck`. ``auto`` uses the check that the row's
            ``reward_model["style"]`` names in the same way.
        tolerance: relative tolerance of the check ``numeric``.
        scorer: see :class:`~verl_mapo.rewards.scorers.settings.ScorerSettings`.
        judge: see :class:`JudgeSettings`; None for no judge.
    """

    NODE: ClassVar[str] = ALIGNMENT_NODE

    outcome: str = AUTO
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    scorer: ScorerSettings = Field(default_factory=dict, validate_default=True)
    judge: JudgeSettings | None = None

    @field_validator("outcome")
    @classmethod
    def _known_check(cls, outcome: str) -> str:
        if outcome != AUTO:
            try:
                find_check(outcome)
            except ValueError as error:
                raise ValueError(f"it should be 'auto' or an answer check, and {error}") from None
        return outcome


def alignment_settings(config: Any) -> DescriptionAlignmentSettings:
    """Read the node from a whole hydra configuration; no model is loaded and no server is contacted.

    Raises:
        ConfigError: naming the setting that is wrong.
    """
    settings = parse(DescriptionAlignmentSettings, config)
    check_scorer(settings.scorer)
    custom = select(config, CUSTOM_REWARD_FUNCTION)
    if custom is not None and (settings.judge is not None or settings.outcome != AUTO):
        raise ConfigError(
            f"{CUSTOM_REWARD_FUNCTION}={custom!r} alone decides the outcome: remove {ALIGNMENT_NODE}.judge and "
            f"{ALIGNMENT_NODE}.outcome, or the function."
        )
    return settings
