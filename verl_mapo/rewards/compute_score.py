# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A reward function for verl's own reward managers: the accuracy alone, without a trajectory or a scorer.

``reward.custom_reward_function.path=pkg://verl_mapo.rewards.compute_score`` chooses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from verl_mapo import names
from verl_mapo.rewards.answers import CHECKS, extract, find_check, is_right, truths_of
from verl_mapo.settings import ConfigError, select

PATH = "pkg://verl_mapo.rewards.compute_score"
"""Value of ``reward.custom_reward_function.path``."""

STYLE = "reward.custom_reward_function.reward_kwargs.style"


def compute_score(
    solution_str: str,
    ground_truth: Any,
    data_source: str | None = None,
    extra_info: dict[str, Any] | None = None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    style: str = "math",
) -> float:
    """1 if the answer in a response equals the ground truth, else 0, also where the check came to no result.

    Args:
        solution_str: the whole response; :func:`~verl_mapo.rewards.answers.extract` finds its answer.
        ground_truth: an answer or a list of accepted ones, bare or in a ``\\boxed{}``; see
            :func:`~verl_mapo.rewards.answers.truths_of`.
        data_source: not used, like the next three; verl passes them to every reward function.
        extra_info: not used.
        reward_router_address: not used.
        reward_model_tokenizer: not used.
        style: the answer check of all rows, from ``reward.custom_reward_function.reward_kwargs.style``. verl does not
            pass a row's own ``reward_model["style"]``, nor its options: ``multiple_choice`` reads letters only.

    Raises:
        ConfigError: the style names no answer check, or the ground truth cannot be read.
    """
    try:
        check, truths = find_check(style), truths_of(ground_truth)
    except ValueError as error:
        raise ConfigError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    answer = extract(solution_str)
    if not answer:
        return 0.0
    return float(bool(is_right(lambda one: check(answer, extract(one) or one, options=[], tolerance=1e-4), truths)))


def check_plain_styles(config: Any, targets: Iterable[Mapping[str, Any] | None], data: str) -> None:
    """Check, at the start of a run with this reward function, that its answer check exists and is the one of the rows.

    verl does not pass a row's own style, so a row that asks for another check would be judged by the wrong one. The
    ``rule``, ``rule-...`` and ``model`` of data made for verl ask for none, nor does a row without a style. A style in
    the configuration is for all rows.

    Args:
        config: the whole hydra configuration.
        targets: the column ``reward_model``; None for a row without one.
        data: which data these are, for the message.

    Raises:
        ConfigError: naming the style, and the setting that decides.
    """
    if select(config, names.CUSTOM_REWARD_FUNCTION) != PATH:
        return
    chosen = select(config, STYLE)
    if chosen is not None:
        try:
            find_check(chosen)
        except ValueError as error:
            raise ConfigError(f"{STYLE}={chosen} is refused: {error}.") from None
        return
    styles = ((target or {}).get("style") for target in targets)
    given = {str(style) for style in styles if style is not None and style == style}  # pandas fills with NaN
    others = sorted(style for style in given - {"", "math", "model"} if not re.fullmatch(r"rule(-.*)?", style))
    if others:
        check = next((style for style in others if style in CHECKS.names), "math")
        raise ConfigError(
            f"In {data}, reward_model.style is {' or '.join(others)}, but {names.CUSTOM_REWARD_FUNCTION}={PATH} "
            f"compares every row with math: set +{STYLE}={check} to compare all rows in this way, or "
            f"{names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER} and no reward function, which reads each row's style."
        )
