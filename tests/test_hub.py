# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A model that is neither on this machine nor to be had from the hub is refused at once."""

from __future__ import annotations

import time

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from verl_mapo.hub import check_reachable
from verl_mapo.planning.model_shape import ModelShape
from verl_mapo.settings import ConfigError

MODEL = "Qwen/Qwen9-VL"


@pytest.fixture
def asked(monkeypatch):
    """The addresses that the hub is asked for; it answers with the error that a test appends to ``errors``."""
    calls, errors = [], []

    def answer(address, **options):
        calls.append(address)
        assert options["timeout"] <= 10
        raise errors[-1]

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    calls_and_errors = calls, errors
    return calls_and_errors


def test_hub_that_does_not_answer_is_asked_once_and_named_with_the_way_to_go_on(asked, monkeypatch):
    calls, errors = asked
    errors.append(httpx.ConnectError("[Errno -2] Name or service not known"))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(ConfigError) as refused:
        ModelShape.read(MODEL)
    words = str(refused.value)
    assert words.startswith(
        f"actor_rollout_ref.model.path={MODEL} is not on this machine, and the Hugging Face hub cannot"
    )
    assert "Name or service not known" in words and f"(hf download {MODEL})" in words and len(calls) == 1


@pytest.mark.parametrize("path", ["{folder}", "{folder}/absent", "hdfs://a/b", "~", "a/b/c"])
def test_paths_are_no_names_on_the_hub(asked, tmp_path, path):
    assert check_reachable("model.path", path.format(folder=tmp_path)) is None and not asked[0]


def test_model_that_was_downloaded_needs_no_hub(asked, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "/cache/config.json")
    assert check_reachable("model.path", MODEL) is None and not asked[0]


def test_what_is_wrong_with_a_name_is_left_to_transformers(asked):
    calls, errors = asked
    response = httpx.Response(401, request=httpx.Request("HEAD", "https://hub"))
    errors.append(RepositoryNotFoundError("no such repository", response=response))
    assert check_reachable("model.path", "Qwen/none") is None and len(calls) == 1
