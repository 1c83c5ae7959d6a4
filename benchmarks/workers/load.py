"""Loads a server: some connections, each with one request under way at any time.

    python load.py PORT CONNECTIONS

For each number of seconds that it reads, a line, it prints one line of JSON: requests a second, and the time in
milliseconds that all but one in a hundred of them took at most.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def loaded(selector: selectors.BaseSelector, seconds: float) -> dict[str, float]:
    times: list[float] = []
    began: dict[socket.socket, float] = {}
    for key in selector.get_map().values():
        began[key.fileobj] = time.perf_counter()
        key.fileobj.sendall(REQUEST)
    start = time.perf_counter()
    end = start + seconds
    while began:
        for key, _ in selector.select():
            connection = key.fileobj
            if not connection.recv(65536):
                raise SystemExit("the server has hung up")
            now = time.perf_counter()
            times.append(now - began[connection])
            if now < end:
                began[connection] = now
                connection.sendall(REQUEST)
            else:
                del began[connection]
    times.sort()
    return {"rate": len(times) / (time.perf_counter() - start), "p99": times[int(len(times) * 0.99)] * 1000}


def main() -> None:
    port, connections = map(int, sys.argv[1:])
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
    for line in sys.stdin:
        print(json.dumps(loaded(selector, float(line))), flush=True)


if __name__ == "__main__":
    main()
