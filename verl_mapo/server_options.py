# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The options of commands that ask a model on a server, see :class:`verl_mapo.server_run.ServerSettings`."""

from __future__ import annotations

from typing import Annotated

import typer

Server = Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server, whose model is asked.")]
ServerModel = Annotated[str | None, typer.Option(help="The name of the model on the server.")]
Key = Annotated[str | None, typer.Option(help="Environment variable with the key of the server.")]
Concurrency = Annotated[int, typer.Option(help="Rollouts that the server makes at the same time.", min=1)]
TimeoutS = Annotated[float, typer.Option(help="Seconds that one attempt of a request to the server may take.")]
Retries = Annotated[int, typer.Option(help="How often a failed request is sent again.", min=0, max=10)]
