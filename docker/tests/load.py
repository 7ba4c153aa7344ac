#!/usr/bin/env python3
"""Clients that send GETs one after the other, until a file appears, and write a line for each:

    1763822400123 200 0.004 Web Application [1]      end in ms since 1970, status or error, seconds, first line of the body

Every other client keeps its connection, as browsers do; the rest open one for each request, as curl does. With several URLs a client
goes on to the next one if the first gives no answer at all, as browsers do with a name that has several addresses.
"""

import argparse
import http.client
import os
import sys
import threading
import time
import urllib.parse


class Client:
    def __init__(self, urls: list[str], kept: bool, limit: float) -> None:
        self.targets = [urllib.parse.urlsplit(url) for url in urls]
        self.kept, self.limit = kept, limit
        self.connection: http.client.HTTPConnection | None = None
        self.current = 0

    def get(self) -> tuple[str, str]:
        """Status and first line. Whoever gives no answer at all is left for the next one; a kept connection is replaced first."""
        reused = self.connection is not None
        failure = ("refused", "")
        for _ in range(len(self.targets) + reused):
            try:
                return self.once()
            except ConnectionRefusedError as error:
                failure = ("refused", repr(error))
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                failure = ("reset", repr(error))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                return "error", repr(error)
            self.close()
            if not reused:
                self.current = (self.current + 1) % len(self.targets)
            reused = False
        return failure

    def once(self) -> tuple[str, str]:
        target = self.targets[self.current]
        if self.connection is None:
            self.connection = http.client.HTTPConnection(target.hostname, target.port or 80, timeout=self.limit)
            self.connection.connect()
        self.connection.request("GET", target.path or "/", headers={"Connection": "keep-alive" if self.kept else "close"})
        answer = self.connection.getresponse()
        body = answer.read().decode(errors="replace")
        if not self.kept or answer.will_close:
            self.close()
        return str(answer.status), body.split("\n", 1)[0][:120]

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("urls", nargs="+")
    arguments.add_argument("--clients", type=int, default=2)
    arguments.add_argument("--pause", type=float, default=0.0, help="seconds between two requests of a client")
    arguments.add_argument("--limit", type=float, default=20.0, help="seconds for one request")
    arguments.add_argument("--until", required=True, help="ends when this file exists, or this process's parent is gone")
    arguments.add_argument("--lines", required=True, help="the file to write")
    given = arguments.parse_args()
    parent = os.getppid()
    with open(given.lines, "w", buffering=1) as lines:

        def work(number: int) -> None:
            client = Client(given.urls, kept=number % 2 == 1, limit=given.limit)
            while not os.path.exists(given.until) and os.getppid() == parent:
                began = time.monotonic()
                status, text = client.get()
                lines.write(f"{time.time_ns() // 1_000_000} {status} {time.monotonic() - began:.3f} {text}\n")
                time.sleep(given.pause)

        clients = [threading.Thread(target=work, args=(number,)) for number in range(given.clients)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()


if __name__ == "__main__":
    sys.exit(main())
