# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the models of the default toy and writes them to the folder from which the package ships them.

    python scripts/ship_toy.py [--out FOLDER] [--work FOLDER]

It takes about eight minutes on one free core. Run it after a change of the prompts, the scenes, or the training of the
toy's models; tests/toy/test_shipped.py says when it is necessary. ``--work`` keeps the stages there, so that an
interrupted command continues.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from verl_mapo.toy import shipped
from verl_mapo.toy.prepare import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the models that ship with the package.")
    parser.add_argument("--out", type=Path, default=shipped.MODELS, help="the folder to write")
    parser.add_argument("--work", type=Path, help="a folder for the stages; a temporary one by default")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as temporary:
        toy = prepare(options.work or Path(temporary), "qwen2_5_vl", "full", retrain=True)
        shipped.write({"qwen2_5_vl-full": toy.model, "full-clip": toy.clip}, options.out)
    logging.info("Wrote %s.", options.out)


if __name__ == "__main__":
    main()
