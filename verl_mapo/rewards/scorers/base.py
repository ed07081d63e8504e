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
"""What an alignment scorer is, and how one is found by name."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from verl_mapo.rewards.settings import ScorerSettings

KINDS = {
    "clip": "verl_mapo.rewards.scorers.clip:ClipScorer",
    "http": "verl_mapo.rewards.scorers.http:HttpScorer",
}
"""The scorers of this package by the name they have in the settings."""


class AlignmentScorer(ABC):
    """Scores pairs of a text and an image, one blocking batch at a time, from one thread.

    Args:
        settings: the scorer reads from it what it needs.

    Raises:
        ConfigError: the settings cannot work, for example a model that cannot be loaded.
    """

    @abstractmethod
    def __init__(self, settings: ScorerSettings): ...

    @abstractmethod
    def score(self, texts: list[str], crops: list[Image.Image]) -> list[float]:
        """The alignment of each text with the crop at its place, a cosine in [-1, 1]; crops are RGB.

        May raise, and may return what is not finite: the caller retries, and leaves the pair unscored.
        """


def scorer_class(kind: str) -> type[AlignmentScorer] | None:
    """The class behind ``scorer.kind`` where that is a dotted path; None for the kinds of this package.

    Raises:
        ValueError: there is no such class.
    """
    if kind in KINDS:
        return None
    try:
        found = pkgutil.resolve_name(kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"it should be 'clip', 'http' or the dotted path of a class ({error})") from None
    if not (isinstance(found, type) and issubclass(found, AlignmentScorer)):
        raise ValueError("the dotted path should lead to a subclass of verl_mapo.rewards.scorers.base.AlignmentScorer")
    return found


def build_scorer(settings: ScorerSettings) -> AlignmentScorer:
    """The scorer that the settings describe, loaded and ready.

    Raises:
        ConfigError: it cannot be loaded.
    """
    found = scorer_class(settings.kind) or pkgutil.resolve_name(KINDS[settings.kind])
    return found(settings)
