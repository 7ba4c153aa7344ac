"""Notes in PostgreSQL: GET / lists them, POST / adds the body as one."""

import os
import socket

import psycopg
from flask import Flask, request

app = Flask(__name__)


def database():
    return psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3, autocommit=True)


# At start, once: the database is there, for Compose has waited until it was healthy.
with database() as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS note (id serial PRIMARY KEY, text text NOT NULL)")


@app.get("/")
def notes():
    with database() as connection:
        rows = connection.execute("SELECT id, text FROM note ORDER BY id").fetchall()
    return "".join(f"{id}. {text}\n" for id, text in rows) or "no notes yet\n"


@app.post("/")
def add():
    with database() as connection:
        connection.execute("INSERT INTO note (text) VALUES (%s)", [request.get_data(as_text=True)])
    return f"noted by {socket.gethostname()}\n", 201


@app.get("/health")
def health():
    return "ok\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)
