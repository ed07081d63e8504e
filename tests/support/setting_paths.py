# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a configuration by their dotted paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(node: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every setting of a plain configuration."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{parent}{name}.")
        else:
            yield f"{parent}{name}", value
