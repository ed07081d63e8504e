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
"""The outcome of one row: a rule with a judge behind it, or the user's own reward function."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Protocol, get_args

from verl.protocol import DataProtoItem

from verl_mapo.rewards.answers import exact, extract, multiple_choice, numeric, truths_of
from verl_mapo.rewards.judge import Judge
from verl_mapo.rewards.math_process import MathProcess
from verl_mapo.rewards.settings import DescriptionAlignmentSettings, Style
from verl_mapo.rollout.prompts import text_of
from verl_mapo.rollout.trajectory import Trajectory

Terms = dict[str, Any]
"""Parts of the reward by name; ``acc`` is always among them."""


class OutcomeCheck(Protocol):
    """Says how good the outcome of a rollout is."""

    async def __call__(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """The reward and its terms, the same names for every row."""


class RuleCheck:
    """Compares the answer in the last turn with the ground truth; where they differ, a judge may still accept it.

    Terms: ``acc`` and ``rule`` in {0, 1}; with a judge also ``judge`` (None where it was not asked or failed) and
    ``judge_failed``.
    """

    def __init__(self, settings: DescriptionAlignmentSettings):
        self.settings = settings
        self.judge = Judge(settings.judge) if settings.judge else None
        self.math = MathProcess()

    async def __call__(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """See :class:`OutcomeCheck`."""
        target = row.non_tensor_batch["reward_model"]
        truths = truths_of(target["ground_truth"])
        answer = extract(trajectory.turns[-1].text) if trajectory.turns else ""
        rule = float(bool(answer) and await self._rule(answer, truths, target))
        terms: Terms = {"acc": rule, "rule": rule}
        if self.judge is not None:
            terms |= {"judge": None, "judge_failed": 0.0}
            if answer and not rule:
                verdict = await self.judge.verdict(_question(row), answer, truths)
                terms |= {"judge_failed": 1.0} if verdict is None else {"judge": float(verdict), "acc": float(verdict)}
        return terms["acc"], terms

    async def _rule(self, answer: str, truths: list[str], target: dict[str, Any]) -> bool:
        style = self.settings.outcome
        if style == "auto":
            style = target.get("style") if target.get("style") in get_args(Style) else "exact"
        if style == "math":
            return await asyncio.to_thread(self.math.equal, answer, truths)
        if style == "multiple_choice":
            options = target.get("options")
            texts = [] if options is None else list(map(str, options))
            return any(multiple_choice(answer, truth, texts) for truth in truths)
        if style == "numeric":
            return any(numeric(answer, truth, self.settings.tolerance) for truth in truths)
        return any(exact(answer, truth) for truth in truths)


class CustomCheck:
    """Asks the function of ``reward.custom_reward_function``, with verl's own signature.

    Terms: what the function returns beside ``score``; ``acc`` is its score unless it returns one.
    """

    def __init__(self, function: Callable[..., Any], tokenizer: Any, router: dict[str, Any]):
        self.function = function
        self.tokenizer = tokenizer
        self.router = router

    async def __call__(self, row: DataProtoItem, trajectory: Trajectory) -> tuple[float, Terms]:
        """See :class:`OutcomeCheck`."""
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
        if inspect.iscoroutinefunction(self.function):
            result = await self.function(**arguments)
        else:
            result = await asyncio.to_thread(self.function, **arguments)
        if isinstance(result, dict):
            return float(result["score"]), {"acc": float(result["score"]), **result}
        return float(result), {"acc": float(result)}

    def _response(self, row: DataProtoItem) -> str:
        """The whole response, tool turns included, special tokens removed: what verl passes as ``solution_str``."""
        responses = row.batch["responses"]
        length = int(row.batch["attention_mask"][-responses.shape[-1] :].sum())
        return self.tokenizer.decode(responses[:length], skip_special_tokens=True)


def _question(row: DataProtoItem) -> str:
    """The text of the last user message of a row's prompt."""
    users = [message for message in row.non_tensor_batch["raw_prompt"] if message["role"] == "user"]
    return text_of(users[-1]).strip() if users else ""
