# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer, the training methods as it calls them, and the engine that returns focus scores."""
