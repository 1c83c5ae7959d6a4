"""An ASGI application, for ``uvicorn --reload``: it answers with the value of the function that is edited."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import subject

look = getattr(subject, os.environ["BENCHMARK_FUNCTION"])


async def application(scope: object, receive: object, send: Callable[[dict[str, object]], Awaitable[None]]) -> None:
    _, value = look(())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": str(value).encode()})
