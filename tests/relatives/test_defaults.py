# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every method of one file.

Its yaml has its defaults, a run finds it by name, and a step compares rollouts of one question by the policy's tokens.
"""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from omegaconf import OmegaConf
from support.fake_queue import jagged
from support.scripted import compose_config
from support.tool_credit import step_of
from support.views import NAN, viewed_fields

from verl_mapo import names
from verl_mapo.columns import PERCEPTION, UNSEEN_LOG_PROBS, VISUAL_FOCUS
from verl_mapo.training.method import Method
from verl_mapo.training.methods import RELATIVES, enabled_methods, estimator_method, relatives


@pytest.mark.parametrize("method", relatives(), ids=list(RELATIVES))
def test_yaml_of_a_method_has_its_settings_at_their_defaults_and_enables_it_alone(method):
    config = compose_config(f"method={method.name}")
    node = OmegaConf.select(config, method.Settings.NODE)
    assert OmegaConf.to_container(node) == asdict(method.Settings())
    assert method.Settings.NODE == f"algorithm.{method.name}"
    assert enabled_methods(config) == [method] and estimator_method(config) is method


def test_methods_that_the_lens_measures_bring_a_placebo():
    rows = {method.name: [row.name for row in method.lens_rows()] for method in relatives()}
    assert {name: names for name, names in rows.items() if names} == {
        name: [name, f"{name}, shuffled"] for name in ("hdpo", "naar", "pepo", "gdpo", "vppo", "srpo", "papo", "pgpo")
    }
    assert Method.lens_rows() == []


OWN = [1, 0, 1, 1, 0, 1]
"""Which tokens of a row are the policy's."""


def signals(odd: float, focus: float) -> dict[str, list[float]]:
    """What the passes say of a row: of its environment's tokens ``odd`` and ``focus``."""
    return {
        "changed": [0.0, odd, 1.0, 1.5, odd, 2.0],
        "unseen": [-0.5, odd, -1.0, -2.0, odd, -1.5],
        "focus": [0.2, focus, 0.4, 0.6, focus, 0.3],
        "entropy": [0.1, -odd, 0.5, 0.3, -odd, 0.2],
    }


@pytest.mark.parametrize("method", relatives(), ids=list(RELATIVES))
def test_step_compares_the_rollouts_of_one_question_and_reads_the_policys_tokens_alone(queue, make_trainer, method):
    """Rewards 1, 1, 0 of a question have the advantages 1, 1, -2 over the root of 3; rewards 1, 1 of another have 0.

    The first two rows differ at the environment's tokens alone; the third has no image and no perception.
    """
    rows = [signals(-9.0, 0.9), signals(0.0, 0.4), dict.fromkeys(signals(0, 0), [NAN] * 6), *[signals(0.5, 0.1)] * 2]
    fields = viewed_fields([row["changed"] for row in rows])
    fields |= viewed_fields([row["unseen"] for row in rows], column=UNSEEN_LOG_PROBS)
    fields[VISUAL_FOCUS.name] = jagged([torch.tensor([*row["focus"], NAN]) for row in rows])
    fields["entropy"] = jagged([torch.tensor(row["entropy"]).nan_to_num() for row in rows])
    written = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0] * 6, [1] * 6, [0] * 6]
    fields[PERCEPTION.name] = jagged([torch.tensor(row) for row in written])
    config = compose_config(f"method={method.name}")
    config.trainer.total_training_steps = 1  # the end of pepo's schedule
    if method.name == names.GDPO:
        config.algorithm.gdpo.whiten = False
    step = {"outcomes": [1.0, 1.0, 0.0, 1.0, 1.0], "calls": [0] * 5, "length": 6, "masks": [OWN] * 5, "uids": "aaabb"}
    step_of(queue, lambda _: make_trainer(config=config), "", **step, **fields)
    found = torch.stack(queue.fields["advantages"].unbind())
    own = torch.tensor(OWN).bool()
    assert not found[:, ~own].any() and not found[3:].any()
    assert found[2, own].tolist() == pytest.approx([-2 / math.sqrt(3)] * 4, abs=1e-5)
    assert found[0].tolist() == pytest.approx(found[1].tolist(), abs=1e-6) and (found[0] >= 0).all()
    if method.name != names.VPPO:  # its factors have mean 1 over the rows of a batch
        assert found[0].sum().item() == pytest.approx(4 / math.sqrt(3), abs=1e-5)
