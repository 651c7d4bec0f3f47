"""Serve this folder to the machine's own browser: python3 serve.py [PORT]

With the headers that let a page use threads, which `python3 -m http.server` does not send.
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    # Windows may have been told other types for these, and browsers then refuse them.
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def main() -> None:
    folder = str(Path(__file__).resolve().parent)
    try:
        port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=folder))
    except (OSError, OverflowError, ValueError) as error:
        sys.exit(f"serve.py: {error}; name another port: python3 serve.py 9000")
    print(f"http://localhost:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
