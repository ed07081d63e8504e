# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The multi-turn agent loop that executes visual tools, its prompts and its parser, and the record of a rollout."""
