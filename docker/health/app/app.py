"""Says hello on port 8080. Takes a while to start, and can be made ill: POST /break, POST /fix."""

import os
import time

from flask import Flask

app = Flask(__name__)
ready_at = time.monotonic() + float(os.environ.get("START_SECONDS", "0"))
broken = False


@app.get("/")
def index():
    return "Hello\n"


@app.get("/health")
def health():
    if broken:
        return "broken\n", 503
    if time.monotonic() < ready_at:
        return "starting\n", 503
    return "ok\n"


@app.post("/break")
def break_():
    global broken
    broken = True
    return "/health answers 503 until POST /fix\n"


@app.post("/fix")
def fix():
    global broken
    broken = False
    return "fixed\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8080)
