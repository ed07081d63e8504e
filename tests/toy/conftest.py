# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The toy at smoke size, made once a test run for both families."""

from __future__ import annotations

import pytest

from verl_mapo.toy.dialogue import DialogueWriter
from verl_mapo.toy.language import Stage
from verl_mapo.toy.prepare import Toy, prepare
from verl_mapo.toy.tiny_vlm import build_processor
from verl_mapo.toy.visual_search import VisualSearch
from verl_mapo.toy.warm_start import Recipe, WarmStart

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
ONE_STEP = Stage(1, 2, 1e-3)


@pytest.fixture(scope="session")
def toys(shelf) -> dict[str, Toy]:
    return {family: prepare(shelf, family, "smoke") for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def toy(request, toys) -> Toy:
    return toys[request.param]


@pytest.fixture(scope="session", params=FAMILIES)
def writer(request) -> DialogueWriter:
    return DialogueWriter(build_processor(request.param), request.param)


@pytest.fixture(scope="module", params=FAMILIES)
def start(request) -> WarmStart:
    """A warm start of six scenes, of which no stage has run."""
    recipe = Recipe(6, ONE_STEP, ONE_STEP, ONE_STEP, ONE_STEP)
    return WarmStart(request.param, VisualSearch(no_zoom_share=0.3), recipe, 0)
