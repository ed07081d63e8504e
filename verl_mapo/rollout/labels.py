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
"""Holding the model to its word: labels and descriptions are there, and short."""

from __future__ import annotations

from typing import Any

from verl_mapo.rollout.parser import parse_description
from verl_mapo.rollout.settings import Describe
from verl_mapo.rollout.trajectory import Turn


class LabelChecker:
    """Checks what the model says it looks at; a fault is told to the model and makes the alignment score zero.

    Args:
        policy: when the model has to speak, see ``visual_tool.describe``.
        max_tokens: cap on a label or a description.
        tokenizer: counts the tokens.
    """

    def __init__(self, policy: Describe, max_tokens: int, tokenizer: Any):
        self.policy = policy
        self.max_tokens = max_tokens
        self.tokenizer = tokenizer
        self._told = {
            "no_label": "Give a label with every call: what you expect to see in the region.",
            "long_label": f"Keep the label within {max_tokens} tokens.",
            "no_description": "Describe the region you were shown between <description> and </description>.",
            "long_description": f"Keep the description within {max_tokens} tokens.",
        }

    def check_label(self, turn: Turn) -> list[str]:
        """Check the label of a call; returns what to tell the model."""
        return self._check(turn, "label", turn.label) if self.policy in ("before", "both") else []

    def check_description(self, turn: Turn, text: str) -> list[str]:
        """Take the description of an observation from the turn that follows it; returns what to tell the model."""
        if self.policy == "before":
            return []
        turn.description = parse_description(text)
        return self._check(turn, "description", turn.description)

    def _check(self, turn: Turn, what: str, said: str | None) -> list[str]:
        tokens = len(self.tokenizer.encode(said, add_special_tokens=False)) if said and said.strip() else 0
        turn.label_tokens = turn.label_tokens or tokens
        if 0 < tokens <= self.max_tokens:
            return []
        fault = f"{'long' if tokens else 'no'}_{what}"
        turn.faults.append(fault)
        return [self._told[fault]]
