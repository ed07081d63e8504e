# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU platform and nothing else of the package: what stock verl needs to run on a machine without accelerator."""

from verl_mapo.platforms import cpu

cpu.register()
