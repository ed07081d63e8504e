# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome of one rollout: an answer check and, optionally, a judge after it; or the user's own reward function."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from verl.protocol import DataProtoItem

from verl_mapo import names
from verl_mapo.rewards.answers import (
    CHECKS,
    FAST_CHECKS,
    JUDGE,
    AnswerCheck,
    Undecided,
    can_be_met,
    extract,
    find_check,
    is_right,
    options_of,
    short,
    truths_of,
)
from verl_mapo.rewards.judge import Judge, NoVerdict
from verl_mapo.rewards.settings import AUTO, DescriptionAlignmentSettings
from verl_mapo.rollout.row_messages import text_form
from verl_mapo.rollout.trajectory import Trajectory, error_sentence
from verl_mapo.settings import ConfigError, parse, select

Terms = dict[str, Any]
"""The values that verl logs beside the reward (its ``reward_extra_info``), by name; ``acc`` is always among them."""


_RIGHT_TRUTHS = {
    "exact": "a text such as red",
    "multiple_choice": "the letter or the text of one option, such as C",
    "numeric": "one number, such as 12 or 12 cm",
    "yes_no": "Yes or No, or a sentence that begins with one of them",
    JUDGE: "a text such as The dog is to the left",
}


_A_JUDGE = (
    "name a model on an OpenAI-compatible server, "
    f"'{names.ALIGNMENT_NODE}.judge={{url: \"http://HOST:8000/v1\", model: NAME}}'"
)


class OutcomeError(RuntimeError):
    """The code of an answer check or of the reward function, or the judge, failed: the outcome is not known."""


class Outcome(Protocol):
    """Computes the reward of a rollout.

    Attributes:
        terms: names of the terms that every row has.
    """

    terms: tuple[str, ...]

    async def __call__(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """The reward and its terms; every row has terms of the same names.

        Raises:
            OutcomeError: the outcome cannot be computed, because the code of a check, a function or the judge failed.
        """


class AnswerOutcome:
    """Compares the answer in the last turn with the ground truth; a judge may accept an answer that the check rejects.

    Terms: ``rule``, 1 if the answer check accepts the answer, else 0; ``undecided``, 1 if the check came to no result
    within its limits, which counts as wrong; ``acc``, the same as ``rule`` after the judge. With a judge also
    ``judge`` (1 or 0; None if it was not asked).

    Args:
        settings: the settings of the reward; the scorer is not read.
    """

    def __init__(self, settings: DescriptionAlignmentSettings):
        self.settings = settings
        self.judge = Judge(settings.judge) if settings.judge else None
        self.terms = ("acc", "rule", "undecided", *(("judge",) if settings.judge else ()))

    async def __call__(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """See :class:`Outcome`.

        Raises:
            ConfigError: the row's ``reward_model`` has no ground truth or no list of options, or ``outcome`` is
                ``auto`` and its ``style`` names no answer check.
            OutcomeError: the answer check raised an exception, or returned no bool; or the judge gave no verdict.
        """
        target = row.non_tensor_batch["reward_model"]
        truths, options = _truths_and_options(target, "In the data, in reward_model")
        answer = extract(trajectory.turns[-1].text) if trajectory.turns else ""
        verdict = await self._is_correct(answer, truths, options, target.get("style"))
        rule = float(bool(verdict))
        terms: Terms = {"acc": rule, "rule": rule, "undecided": float(verdict is None)}
        if self.judge is not None:
            terms["judge"] = None
            if answer and not rule:
                try:
                    accepted = float(await self.judge.verdict(_question(row), answer, truths))
                except NoVerdict as error:
                    raise OutcomeError(str(error)) from error
                terms |= {"judge": accepted, "acc": accepted}
        return terms["acc"], terms

    async def _is_correct(self, answer: str, truths: list[str], options: list[str], style: Any) -> bool | None:
        name = self.settings.outcome
        if name == AUTO:
            name = style
            _require_checks([name])
        check = find_check(name)
        keywords = {"options": options, "tolerance": self.settings.tolerance}

        def compare() -> bool | None:
            return is_right(lambda truth: _apply(check, name, answer, truth, keywords), truths)

        if not answer:
            return False
        return compare() if name in FAST_CHECKS else await asyncio.to_thread(compare)


class CustomOutcome:
    """Calls the function of ``reward.custom_reward_function`` with verl's own signature.

    It returns a finite number, or a dict whose ``score`` is one. Anything else, such as NaN or None, is an error like
    an exception of the function, and never a reward of 0.

    Terms: the values that the function returns beside ``score``; ``acc`` is its score unless it returns ``acc`` too. A
    rollout on which the function fails has ``acc`` alone.

    Args:
        function: the user's function, plain or async.
        tokenizer: decodes the response.
        router: verl's further arguments for a reward model; empty without one.
    """

    terms = ("acc",)

    def __init__(self, function: Callable[..., Any], tokenizer: Any, router: dict[str, Any]):
        self.function = function
        self.tokenizer = tokenizer
        self.router = router

    async def __call__(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """See :class:`Outcome`.

        Raises:
            OutcomeError: the function raised an exception, or returned no score.
        """
        fields = row.non_tensor_batch
        arguments = {
            "data_source": fields["data_source"],
            "solution_str": await asyncio.to_thread(self._response, row),
            "ground_truth": fields["reward_model"]["ground_truth"],
            "extra_info": {
                **(fields.get("extra_info") or {}),
                **fields["tool_extra_fields"],
                "num_turns": fields.get("__num_turns__"),
            },
            **self.router,
        }
        code = f"The function of {names.CUSTOM_REWARD_FUNCTION}"
        if inspect.iscoroutinefunction(self.function):
            try:
                result = await self.function(**arguments)
            except (Exception, SystemExit) as error:
                raise OutcomeError(error_sentence(code, error)) from error
        else:
            result = await asyncio.to_thread(_call, code, self.function, **arguments)
        score = _score(result, code)
        return score, {"acc": score, **(result if isinstance(result, dict) else {})}

    def _response(self, row: DataProtoItem) -> str:
        """The whole response without special tokens, tool turns included, as verl passes it in ``solution_str``."""
        responses = row.batch["responses"]
        length = int(row.batch["attention_mask"][-responses.shape[-1] :].sum())
        return self.tokenizer.decode(responses[:length], skip_special_tokens=True)


def _call(code: str, function: Callable[..., Any], *values: Any, **keywords: Any) -> Any:
    """Call code that is not ours; any exception becomes an :class:`OutcomeError`.

    A thread calls it, not the event loop: a StopIteration that leaves a thread is never reported to the loop, which
    then waits for ever, and a SystemExit that reaches the loop ends it.
    """
    try:
        return function(*values, **keywords)
    except (Exception, SystemExit) as error:
        raise OutcomeError(error_sentence(code, error)) from error


def _score(result: Any, code: str) -> float:
    """The score in what a custom reward function returned."""
    score = finite_number(result.get("score") if isinstance(result, dict) else result)
    if score is None:
        raise OutcomeError(
            f"{code} returned {short(result)}; it must return a finite number, such as 1.0, or a dict with one, "
            'such as {"score": 1.0}.'
        )
    return score


def finite_number(value: Any) -> float | None:
    """A value that a reward function returned, as a number; None if it is no finite one. A text is no number."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _apply(check: AnswerCheck, name: str, answer: str, truth: str, keywords: dict[str, Any]) -> bool:
    """Call a check; an exception or a result that is no bool is an error in the check, which the message names."""
    try:
        equal = check(answer, truth, **keywords)
    except Undecided:
        raise
    except (Exception, SystemExit) as error:
        raise OutcomeError(error_sentence(f"The answer check {name}", error)) from error
    if not isinstance(equal, bool | np.bool_):
        raise OutcomeError(f"The answer check {name} returned {equal!r:.200}; it must return True or False.")
    return bool(equal)


def check_targets(config: Any, targets: Iterable[Any], data: str = "the data") -> None:
    """Check, at the start of a run, that every row's answer can be judged.

    Nothing is checked when this package does not read the rows' ``reward_model``: with another reward manager or with
    a custom reward function. The styles are not checked when ``reward.description_alignment.outcome`` names one answer
    check for all rows.

    Args:
        config: the whole hydra configuration.
        targets: the column ``reward_model``; None for a row without one.
        data: what messages call the rows.

    Raises:
        ConfigError: a row's ``reward_model`` is no mapping; a ground truth or the options of a row cannot be read; no
            answer can equal a ground truth, such as a letter without an option; rows need a judge, and none is
            configured; or naming every style that is not an answer check, the known checks and the setting that
            overrides the rows' styles.
    """
    if select(config, names.REWARD_MANAGER_NAME) != names.REWARD_MANAGER:
        return
    if select(config, names.CUSTOM_REWARD_FUNCTION) is not None:
        return
    targets = [{} if target is None else target for target in targets]
    for row, target in enumerate(targets):
        if not isinstance(target, Mapping):
            raise ConfigError(
                f"In {data}, reward_model of row {row} is {short(target)}, no mapping: use one such as "
                '{"style": "exact", "ground_truth": "red"}.'
            )
    settings = parse(DescriptionAlignmentSettings, config)
    outcome = settings.outcome
    if outcome == AUTO:
        _require_checks(target.get("style") for target in targets)
    if settings.judge is None:
        if outcome == JUDGE:
            raise ConfigError(
                f"{names.ALIGNMENT_NODE}.outcome={JUDGE} needs a judge, and none is configured: {_A_JUDGE}; or set "
                f"{names.ALIGNMENT_NODE}.outcome=exact to compare all rows without one."
            )
        _require_no_judge(target.get("style") if outcome == AUTO else outcome for target in targets)
    possible: set[tuple[Any, ...]] = set()
    for row, target in enumerate(targets):
        truths, options = _truths_and_options(target, f"In {data}, in reward_model of row {row}")
        style = target.get("style") if outcome == AUTO else outcome
        for truth in truths if style in FAST_CHECKS else ():
            case = (style, truth, len(options)) if len(truth) == 1 else (style, truth, *options)
            if case not in possible and not can_be_met(style, truth, options):
                texts = f" and the options {short(options)}" if options else ""
                raise ConfigError(
                    f"In {data}, in reward_model of row {row}, no answer can equal the ground truth {short(truth)} "
                    f"under the style {style}{texts}: use {_RIGHT_TRUTHS[style]}."
                )
            possible.add(case)


def _truths_and_options(target: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
    """The accepted answers of a row's ``reward_model`` and the texts of its multiple choice."""
    try:
        return truths_of(target.get("ground_truth")), options_of(target.get("options"))
    except ValueError as error:
        raise ConfigError(f"{where}, {error}.") from None


def _require_checks(styles: Iterable[Any]) -> None:
    """Raise ConfigError if one of the styles is missing or names no answer check."""
    unknown: list[str] = []
    reasons: list[str] = []
    for style in {repr(style): style for style in styles}.values():
        try:
            find_check(style if isinstance(style, str) else "")
        except ValueError as error:
            unknown.append("missing" if style is None else repr(style))
            if isinstance(style, str) and ("." in style or ":" in style):
                reasons.append(f" {str(error)[0].upper()}{str(error)[1:]}.")
    if unknown:
        raise ConfigError(
            f"In the data, reward_model.style is {' or '.join(unknown)}, which names no answer check. Use "
            f"{', '.join(CHECKS.names)} or the dotted path of your own in every row, or set "
            f"{names.ALIGNMENT_NODE}.outcome=exact to compare all rows in the same way.{''.join(reasons)}"
        )


def _require_no_judge(styles: Iterable[Any]) -> None:
    """Raise ConfigError if a row needs a judge."""
    needed = [row for row, style in enumerate(styles) if style == JUDGE]
    if needed:
        found, first = ("1 row has", "") if len(needed) == 1 else (f"{len(needed)} rows have", "the first is ")
        raise ConfigError(
            f"In the data, {found} reward_model.style={JUDGE} ({first}row {needed[0]}, counted from 0): no rule can "
            f"check such an answer, and no judge is configured: {_A_JUDGE}; or set "
            f"{names.CUSTOM_REWARD_FUNCTION} to a reward function of your own; or convert the data without these rows "
            "(verl-mapo data convert ... --without-judged)."
        )


def _question(row: DataProtoItem) -> str:
    """The text of the last user message of a row's prompt."""
    users = [message for message in text_form(row.non_tensor_batch["raw_prompt"]) if message["role"] == "user"]
    return users[-1]["content"].strip() if users else ""
