# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of alignment scorers, and functions that find a scorer by name or dotted path and build it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from PIL import Image

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.registry import Registry
from verl_mapo.rewards.scorers.settings import NO_SCORER, ScorerSettings
from verl_mapo.settings import ConfigError, parse_node

_NODE = f"{ALIGNMENT_NODE}.scorer"


class AlignmentScorer(ABC):
    """Scores batches of pairs of a text and an image. Each call blocks; calls come one at a time, from one thread.

    Args:
        settings: the whole node ``scorer``. ``settings.options`` is an object of :attr:`Options`, or empty for a scorer
            without options.

    Raises:
        ConfigError: the settings cannot work, for example a model that cannot be loaded.
    """

    Options: ClassVar[type | None] = None
    """The scorer's own settings, ``scorer.options`` in the configuration: a frozen pydantic dataclass with the
    configuration :data:`verl_mapo.settings.STRICT`. None for a scorer without options."""

    def __init__(self, settings: ScorerSettings):
        self.settings = settings

    @abstractmethod
    def score(self, texts: list[str], images: list[Image.Image]) -> list[float]:
        """The alignment of each text with the image at the same index.

        It may raise, and may return values that are not finite: the caller repeats a call that raised, and leaves a
        pair without a finite value unscored.

        Args:
            texts: labels or descriptions.
            images: RGB, as many as texts.

        Returns:
            One float per pair; a cosine in [-1, 1] for the scorers of this package.
        """


SCORERS: Registry[type[AlignmentScorer]] = Registry(
    "scorer",
    AlignmentScorer,
    {
        "clip": "verl_mapo.rewards.scorers.clip:ClipScorer",
        "http": "verl_mapo.rewards.scorers.http:HttpScorer",
    },
)
"""The scorers by the value of ``scorer.kind``."""


def scorer_class(kind: str) -> type[AlignmentScorer]:
    """The class of a scorer, imported.

    Raises:
        ConfigError: there is no scorer with this name or dotted path.
    """
    try:
        return SCORERS.find(kind)
    except ValueError as error:
        raise ConfigError(f"{_NODE}.kind={kind!r} is refused: {error}.") from None


def parse_options(settings: ScorerSettings) -> Any:
    """The scorer's own options as an object of its ``Options``; None for a scorer without options.

    Raises:
        ConfigError: there is no such scorer, or its options are invalid.
    """
    scorer = scorer_class(settings.kind)
    options = scorer.Options
    if options is None:
        if settings.options:
            raise ConfigError(
                f"{_NODE}.options={settings.options!r} is refused: the scorer {settings.kind!r} has no options of its "
                "own; leave them out."
            )
        return None
    return parse_node(options, settings.options, f"{_NODE}.options")


def check_scorer(settings: ScorerSettings) -> None:
    """Check, at the start of a run, that the scorer exists and that its options are valid.

    A built-in scorer is not imported, since that would load its framework.

    Raises:
        ConfigError: naming the setting.
    """
    if settings.kind != NO_SCORER and (settings.options or settings.kind not in SCORERS.names):
        parse_options(settings)


def build_scorer(settings: ScorerSettings) -> AlignmentScorer:
    """The scorer that the settings describe, loaded and ready.

    Raises:
        ConfigError: it cannot be loaded.
    """
    options = parse_options(settings)
    return scorer_class(settings.kind)(settings if options is None else replace(settings, options=options))
