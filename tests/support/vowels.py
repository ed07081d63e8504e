# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A dense reward for models that know nothing."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return sum(letter in "aeiou" for letter in solution_str) / max(len(solution_str), 1)
