# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The cold start: supervised training on trajectories before reinforcement learning."""
