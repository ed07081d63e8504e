# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a run folder: curves, alarms, and a choice of trajectories with their images."""
