# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The versions of other packages that this package was tested with, and how to find the installed ones."""

from __future__ import annotations

from importlib import metadata

TESTED = {
    "verl": ("0.9.1",),
    "torch": ("2.11.0",),
    "transformers": ("5.9.0",),
    "vllm": ("0.24.0",),
    "ray": ("2.60.0",),
    "tensordict": ("0.10.0",),
}
"""Name of a distribution to the versions this package was tested with."""


def distribution_version(name: str) -> str:
    """The installed version of a distribution or of its CPU build (``name-cpu``); empty when neither is installed."""
    for distribution in (name, f"{name}-cpu"):
        try:
            return metadata.distribution(distribution).version
        except metadata.PackageNotFoundError:
            continue
    return ""
