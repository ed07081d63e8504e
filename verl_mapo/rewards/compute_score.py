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
from verl_mapo.registry import Registry
from verl_mapo.rewards.answers import CHECKS, JUDGE, AnswerCheck, extract, find_check, is_right, short, truths_of
from verl_mapo.settings import ConfigError, select

PATH = "pkg://verl_mapo.rewards.compute_score"
"""Value of ``reward.custom_reward_function.path``."""

STYLE = "reward.custom_reward_function.reward_kwargs.style"

_CHECKS: Registry[AnswerCheck] = Registry(
    CHECKS.kind, CHECKS.base, {name: path for name, path in CHECKS.builtin.items() if name != JUDGE}
)
"""The answer checks that need no judge, for this function asks none."""


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
        ConfigError: the style names no answer check or ``judge``, or the ground truth cannot be read.
    """
    try:
        check, truths = _plain_check(style), truths_of(ground_truth)
    except ValueError as error:
        raise ConfigError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    answer = extract(solution_str)
    if not answer:
        return 0.0
    return float(bool(is_right(lambda one: check(answer, extract(one) or one, options=[], tolerance=1e-4), truths)))


def _plain_check(style: Any) -> AnswerCheck:
    """The answer check of a style; raise ValueError if there is none, or if it needs a judge."""
    if style == JUDGE:
        raise ValueError(f"no judge is asked by {PATH}: use one of {', '.join(_CHECKS.names)}")
    _CHECKS.find(style)
    return find_check(style)


def check_plain_rows(config: Any, targets: Iterable[Mapping[str, Any] | None], data: str) -> None:
    """Check, at the start of a run with this reward function, its answer check, and the style and truth of every row.

    verl does not pass a row's own style, so a row that asks for another check would be judged by the wrong one. The
    ``rule``, ``rule-...`` and ``model`` of data made for verl ask for none, nor does a row without a style. A style in
    the configuration is for all rows.

    Args:
        config: the whole hydra configuration.
        targets: the column ``reward_model``; None for a row without one.
        data: which data these are, for the message.

    Raises:
        ConfigError: naming the style, and the setting that decides; or the row whose ground truth cannot be read.
    """
    if select(config, names.CUSTOM_REWARD_FUNCTION) != PATH:
        return
    chosen = select(config, STYLE)
    if chosen is not None:
        try:
            _plain_check(chosen)
        except ValueError as error:
            raise ConfigError(f"{STYLE}={chosen} is refused: {error}.") from None
    targets = [{} if target is None else target for target in targets]
    for row, target in enumerate(targets):
        _check_truth(target, f"In {data}, reward_model of row {row}")
    if chosen is not None:
        return
    styles = (target.get("style") for target in targets)
    given = {str(style) for style in styles if style is not None and style == style}  # pandas fills with NaN
    others = sorted(style for style in given - {"", "math", "model"} if not re.fullmatch(r"rule(-.*)?", style))
    if others:
        check = next((style for style in others if style in _CHECKS.names), "math")
        all_rows = "" if JUDGE in others else f"+{STYLE}={check} to compare all rows in this way, or "
        judge = f", and {names.ALIGNMENT_NODE}.judge to a model that judges" if JUDGE in others else ""
        raise ConfigError(
            f"In {data}, reward_model.style is {' or '.join(others)}, but {names.CUSTOM_REWARD_FUNCTION}={PATH} "
            f"compares every row with math: set {all_rows}"
            f"{names.REWARD_MANAGER_NAME}={names.REWARD_MANAGER} and no reward function, which reads each row's "
            f"style{judge}."
        )


def _check_truth(target: Any, where: str) -> None:
    """Raise ConfigError if verl finds no ground truth in a row's ``reward_model``, or :func:`compute_score` no text."""
    if not isinstance(target, Mapping):
        raise ConfigError(
            f'{where} is {short(target)}, no mapping: use one such as {{"style": "math", "ground_truth": "12"}}.'
        )
    try:
        truths_of(target.get("ground_truth"))
    except ValueError as error:
        raise ConfigError(f"{where} cannot be compared: {error}.") from None
