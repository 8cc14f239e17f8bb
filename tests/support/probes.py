"""Health checks of containers, run against a server that gives one answer."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


def passes(program: str, status: int, **environment: str) -> bool:
    """Whether a check, a Python program, passes where this is answered, in an environment whose proxy is away.

    The program, or a value of the environment, may have `{port}`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.server_port)
        nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
        named = {name: value.replace("{port}", port) for name, value in environment.items()}
        done = subprocess.run(
            [sys.executable, "-c", program.replace("{port}", port)],
            env={"PATH": os.environ["PATH"], **nowhere, **named},
            capture_output=True,
            timeout=20,
            check=False,
        )
        server.shutdown()
    return done.returncode == 0
