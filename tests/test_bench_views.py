# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/bench_views.py measures every view that the settings offer, and times a change without its pass."""

from __future__ import annotations

from typing import get_args, get_type_hints

import torch
from support.passes import tiny_engine
from support.script_modules import script_module

from verl_mapo.views.pixels import ViewSettings

script = script_module("bench_views")


def test_every_change_of_the_settings_is_measured():
    offered = get_args(get_type_hints(ViewSettings)["change"])
    assert sorted(view.change for view in script.CHANGES.values()) == sorted(offered)


@torch.no_grad()
def test_model_is_passed_once_for_each_view_whose_change_is_timed(tiny_models, monkeypatch):
    engine = tiny_engine(tiny_models["qwen2_5_vl"].folder, monkeypatch)
    engine.module.config.image_token_id = script.IMAGE_TOKEN
    calls: list[int] = []
    engine.module.register_forward_pre_hook(lambda *_: calls.append(1))
    batch = script.batch_with(engine, "cpu", rows=2, side=2)
    requests = script.requests_of(engine)
    for request in requests.values():
        script.seconds_of_change(engine, batch, request, 2, "cpu")
    assert len(calls) == len(requests) == len(script.CHANGES) + 1
