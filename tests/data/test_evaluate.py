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
"""The smoke warm start: most rollouts have the right form; and the figures mean what they say."""

from __future__ import annotations

import pytest

from verl_mapo.data.evaluate import evaluate
from verl_mapo.data.visual_search import VisualSearch


def test_most_rollouts_call_look_and_answer(toy):
    figures = evaluate(toy.model, VisualSearch(), scenes=48, temperature=1.0)
    assert figures.call > 0.6 and figures.form > 0.6
    assert 0 <= figures.right <= figures.form and 0 <= figures.hit <= figures.call


def test_greedy_figures_are_the_same_every_time(toys):
    first, second = (evaluate(toys["qwen2_5_vl"].model, VisualSearch(), 6, 0.0, batch=batch) for batch in (6, 4))
    assert first == second
    assert first.call == pytest.approx(1.0)
