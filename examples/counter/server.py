"""A threaded web server that counts, in memory: /increment and /get.

Run it with ``bcpatch run server.py`` and edit handlers.py while it counts.
"""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from handlers import Counter

from bcpatch import runtime

COUNTER = Counter()


class Requests(BaseHTTPRequestHandler):
    """Finds the method of the counter that a path names."""

    def do_GET(self) -> None:
        routes = {"/increment": COUNTER.increment, "/get": COUNTER.get}
        answer = routes.get(self.path)
        if answer is None:
            self.send_error(404, "there are /increment and /get")
            return
        body = f"{answer()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged: the terminal belongs to the server's own lines."""


def main() -> None:
    parser = argparse.ArgumentParser(description="count in memory")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    port = parser.parse_args().port
    runtime.loop()
    with ThreadingHTTPServer(("127.0.0.1", port), Requests) as server:
        try:
            print(f"counting on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"stopped; {COUNTER.get()}", flush=True)


if __name__ == "__main__":
    main()
