# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""An answer check that ignores the order of a list: a complete answer check outside verl_mapo."""

from __future__ import annotations

import re
from typing import Any


def same_items(answer: str, truth: str, **_: Any) -> bool:
    """Whether both texts list the same items: ``red, blue`` equals ``blue and red``."""
    return _items(answer) == _items(truth) != set()


def _items(text: str) -> set[str]:
    return {item.strip(" .").lower() for item in re.split(r",|;|\band\b", text) if item.strip(" .")}
