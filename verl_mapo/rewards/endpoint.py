# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of OpenAI-compatible servers, shared by the ``http`` scorer and the judge."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import Field

from verl_mapo.names import ALIGNMENT_NODE
from verl_mapo.settings import ConfigError

Retries = Annotated[int, Field(ge=0, le=10)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def base_url(url: str | None) -> str:
    """The URL, unchanged.

    Raises:
        ValueError: it is not an http or https URL.
    """
    if not url or not re.match(r"https?://[^/\s]+", url):
        raise ValueError("it should be the base URL of an OpenAI-compatible server, such as 'http://127.0.0.1:8000/v1'")
    return url


def api_key(variable: str | None) -> str:
    """The key in an environment variable of this process; the placeholder ``none`` when no variable is named.

    Raises:
        ConfigError: the variable is not set.
    """
    if variable is None:
        return "none"
    if variable not in os.environ:
        raise ConfigError(
            f"{ALIGNMENT_NODE}: api_key_env={variable!r} is not set in the environment of the process that needs it; "
            "forward it to Ray's workers through ray_kwargs.ray_init.runtime_env.env_vars."
        )
    return os.environ[variable]
