# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""AXPO's rollout: continuations of failed tool calls, run while the batch is still being generated."""
