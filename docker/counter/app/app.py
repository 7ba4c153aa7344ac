"""Counts its visitors in Redis, so that all replicas share the count."""

import os
import socket

import redis
from flask import Flask

app = Flask(__name__)
cache = redis.Redis(
    host=os.environ.get("REDIS_HOST", "redis"), port=int(os.environ.get("REDIS_PORT", "6379")), socket_timeout=2
)


@app.get("/")
def index():
    return f"Visit {cache.incr('hits')}, answered by {socket.gethostname()}\n"


@app.get("/health")
def health():
    # How this replica is. Whether Redis is well is another question: a check that asks it takes all replicas out at once.
    return "ok\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)
