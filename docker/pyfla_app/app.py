import os
import signal
import socket
import threading

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

app = Flask(__name__)
# Replicas have no number of their own: their container's id tells them apart.
number = os.environ.get("APP_NUMBER") or socket.gethostname()


@app.route("/")
def index():
    return f"Web Application [{number}]\n"


@app.route("/health")
def health():
    return "ok\n"


@app.post("/eat")
def eat():
    """Takes 256 MB, if it may: a container with a smaller mem_limit is killed for it."""
    eaten = bytearray()
    while len(eaten) < 256 << 20:
        eaten += b"x" * (8 << 20)
    return f"still here, {len(eaten) >> 20} MB later\n"


class OneWrite(WSGIRequestHandler):
    """Head and body leave in one write: a process that is killed has answered, or it has not."""

    wbufsize = -1


if __name__ == "__main__":
    server = make_server("0.0.0.0", 5000, app, threaded=True, request_handler=OneWrite)
    # docker stop sends SIGTERM: nothing new is taken, and what was taken is finished.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
