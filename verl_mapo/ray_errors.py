# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What an error that came through Ray's actors says in a line."""

from __future__ import annotations

from ray.exceptions import RayTaskError

from verl_mapo.settings import ConfigError

_LONGEST = 2000
"""Characters of a reason."""


def reason(error: BaseException) -> str:
    """The message, in one line, of the error that a process of the run raised first.

    Ray wraps an error once for each actor through which it comes, and puts a traceback into its message.
    """
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    kind = "" if type(error) in (RuntimeError, ConfigError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:_LONGEST]
