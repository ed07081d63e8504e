# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe's own configuration on a CPU, with a tiny model, for three steps: ``verl-mapo rehearse``."""
