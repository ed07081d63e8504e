# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What several test files share: a fake queue, a scripted engine, log-prob passes, and the launcher of real runs."""
