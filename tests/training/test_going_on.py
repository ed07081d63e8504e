# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A run that goes on says whether it takes the course that it would have taken without the stop."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from verl_mapo.training.going_on import going_on


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.v1.trainer_mode=sync", "visual_tool.seed=1"], "its metrics are those of a run that was not stopped"),
        (["trainer.v1.trainer_mode=sync"], "visual_tool.seed would give them the same"),
        (
            ["trainer.v1.trainer_mode=sync", "visual_tool.seed=1", "algorithm.adv_estimator=axpo"],
            "the order in which they end, so metrics may differ",
        ),
        (["trainer.v1.trainer_mode=colocate_async", "visual_tool.seed=1"], "in flight are begun anew"),
        (["trainer.v1.trainer_mode=separate_async"], "trainer.v1.trainer_mode=separate_async, prompts"),
    ],
)
def test_sentence_names_what_differs(overrides, words):
    sentence = going_on(OmegaConf.from_dotlist(overrides), 4)
    assert sentence.startswith("The run goes on after step 4.") and words in sentence and sentence.endswith(".")
