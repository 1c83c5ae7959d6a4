"""A small HTTP server that takes patches: with a thread a connection, or with asyncio.

    python server.py threaded|asyncio

Prints its process id and its port. Every request runs some functions of the module that is patched.
"""

from __future__ import annotations

import asyncio
import os
import socketserver
import sys

sys.path.insert(0, os.getcwd())

import subject

from bcpatch import runtime

VALUES = [1.5, -2.0, 3.25] * 20


def answer() -> bytes:
    body = repr([subject.f0(VALUES), subject.f1(VALUES), subject.f2(VALUES)]).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while True:
            line = self.rfile.readline()
            if not line:
                return
            if line == b"\r\n":
                self.wfile.write(answer())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def threaded() -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        print(os.getpid(), server.server_address[1], flush=True)
        server.serve_forever()


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line == b"\r\n":
            writer.write(answer())
            await writer.drain()
    writer.close()


async def serve() -> None:
    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    print(os.getpid(), server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    runtime.loop()
    if sys.argv[1] == "threaded":
        threaded()
    else:
        asyncio.run(serve())
