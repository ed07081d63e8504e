# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The key and the URL of an OpenAI-compatible server, and the image that it is sent."""

import base64
import io

import pytest
from PIL import Image
from support.scorers import picture

from verl_mapo.endpoint import api_key, base_url, data_url
from verl_mapo.settings import ConfigError


def test_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SCORER_KEY", "secret")
    assert api_key("SCORER_KEY", "--api-key-env") == "secret"
    assert api_key(None, "--api-key-env") == "none"


def test_key_that_is_not_set_is_refused(monkeypatch):
    monkeypatch.delenv("OTHER_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"judge\.api_key_env='OTHER_KEY' is not set"):
        api_key("OTHER_KEY", "judge.api_key_env")


@pytest.mark.parametrize("url", [None, "", "h:8000", "http://", "ftp://h/v1"])
def test_url_without_http_and_host_is_refused(url):
    with pytest.raises(ValueError, match="should be the base URL"):
        base_url(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "https://host/v1"])
def test_http_url_is_returned_unchanged(url):
    assert base_url(url) == url


def test_data_url_holds_the_same_pixels():
    image = picture(0)
    header, _, data = data_url(image).partition(",")
    assert header == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == image.tobytes()
