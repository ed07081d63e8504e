# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a model can be had from the Hugging Face hub, before a library asks for its files again and again."""

from __future__ import annotations

import re

from verl_mapo.settings import ConfigError, local_path

WAIT_S = 5.0
"""Seconds that the hub has to accept a connection, and to answer."""

_CONFIG = "config.json"
_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


def check_reachable(setting: str, path: str) -> None:
    """Check that a model is on this machine, or that the hub answers when it is asked once.

    transformers asks for every file six times, with pauses, which takes up to a minute without a network. What is wrong
    with a name is left to transformers to say.

    Args:
        setting: dotted path of the setting.
        path: its value, a folder or a name on the hub.

    Raises:
        ConfigError: the path is a name on the hub, its config.json was never downloaded, and the hub does not answer.
    """
    if local_path(path).exists() or not _NAME.fullmatch(path):
        return
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(try_to_load_from_cache(path, _CONFIG), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(path, _CONFIG), timeout=WAIT_S)
    except HfHubHTTPError:  # the hub has answered
        return
    except Exception as error:  # of sockets and of the library for HTTP, which differs between versions
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ConfigError(
            f"{setting}={path} is not on this machine, and the Hugging Face hub cannot be reached: {reason}. Download "
            f"the model where there is a network (hf download {path}), or set {setting} to the folder of a model."
        ) from None
