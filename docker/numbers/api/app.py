"""Random numbers. After a few of them the API is out of order for good, while its process lives on: /health tells."""

import os
import random
import socket

from flask import Flask

app = Flask(__name__)
limit = int(os.environ.get("FAIL_AFTER", "3"))
served = 0


@app.get("/rng")
def rng():
    global served
    if served >= limit > 0:
        return "out of order\n", 500
    served += 1
    return f"{random.randint(0, 99)}\n", {"X-Replica": socket.gethostname()}


@app.get("/health")
def health():
    if served >= limit > 0:
        return f"out of order after {served} numbers\n", 500
    return "ok\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=80)
