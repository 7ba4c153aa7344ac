"""Do WebSockets get through weir? Python's `websockets` on both sides of it, in plain and over TLS.

Needs Python 3.11, its package websockets, and openssl. `tests/foreign/websocket.py [WEIR]`.
"""

import asyncio
import hashlib
import os

from support import check, weir
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

LARGE = 1 << 20
SECONDS = 60


async def application(connection):
    """Echoes each message; some words mean more."""
    async for message in connection:
        match message:
            case "close":
                return await connection.close(4321, "as you wish")
            case "break":
                return connection.transport.abort()
            case "ping":
                await (await connection.ping(b"are you there"))
                await connection.send("there")
            case "burst":
                for number in range(1000):
                    await connection.send(str(number))
            case "head":
                fields = connection.request.headers
                await connection.send(f"{connection.request.path} {fields['Origin']} {connection.subprotocol}")
            case _:
                await connection.send(message)


async def refuse(connection, request):
    if request.path.startswith("/refused"):
        return connection.respond(403, "not here\n")


async def closing(connection):
    """How the other side ended it: the code and the reason."""
    try:
        await connection.recv()
    except ConnectionClosed:
        return connection.close_code, connection.close_reason


async def status(connecting):
    """What a handshake is answered with."""
    try:
        async with connecting:
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def through(kind, url, **how):
    # With what websockets does by itself, compression of messages, and without.
    for name, compression in ("", None), (", compressed", "deflate"):

        def client(path="/", compression=compression, **more):
            return connect(url + path, compression=compression, proxy=None, max_size=2 * LARGE, **how, **more)

        async with client() as connection:
            for message in "text", "naïve ✓", "", b"\x00\xff bytes", b"":
                await connection.send(message)
                check(f"{kind}{name}: {message!r} comes back", message, await connection.recv())
            large = os.urandom(LARGE)
            await connection.send(large)
            back = hashlib.sha256(await connection.recv()).hexdigest()
            check(f"{kind}{name}: 1 MiB comes back", hashlib.sha256(large).hexdigest(), back)
            await connection.send(["one ", "message ", "in parts"])
            check(f"{kind}{name}: a message in fragments", "one message in parts", await connection.recv())
            answered = await connection.ping(b"hello")
            check(f"{kind}{name}: a ping of the client is answered", True, await answered > 0)
            await connection.send("ping")
            check(f"{kind}{name}: a ping of the server is answered", "there", await connection.recv())
            await connection.send("burst")
            numbers = [await connection.recv() for _ in range(1000)]
            check(f"{kind}{name}: a thousand messages in order", [str(n) for n in range(1000)], numbers)
        check(f"{kind}{name}: the client's close is answered", 1000, connection.close_code)

    async with client("/chat?room=1", origin="https://example.test", subprotocols=["v2", "v1"]) as connection:
        await connection.send("head")
        expected = "/chat?room=1 https://example.test v1"
        check(f"{kind}: path, Origin and subprotocol", expected, await connection.recv())
    async with client() as connection:
        await connection.send("close")
        check(f"{kind}: the server's close code and reason", (4321, "as you wish"), await closing(connection))
    async with client() as connection:
        await connection.send("break")
        check(f"{kind}: a server that breaks off", (1006, ""), await closing(connection))
    check(f"{kind}: a handshake that the server refuses", 403, await status(client("/refused")))

    async def one(number):
        async with client() as connection:
            for message in range(20):
                await connection.send(f"{number} {message}")
                if await connection.recv() != f"{number} {message}":
                    return 0
        return 1

    check(f"{kind}: fifty at once", 50, sum(await asyncio.gather(*(one(number) for number in range(50)))))


async def main():
    def choose(_, offered):
        return "v1" if "v1" in offered else None

    server = serve(
        application, "127.0.0.1", 0, process_request=refuse, select_subprotocol=choose, max_size=2 * LARGE
    )
    async with server as listening:
        port = listening.sockets[0].getsockname()[1]
        location = f'[[server.location]]\npath = "/"\nproxy_pass = "http://127.0.0.1:{port}"\n'
        with weir(
            f'[[server]]\nlisten = "127.0.0.1:0"\n{location}'
            '[[server]]\nlisten = { address = "127.0.0.2:0", tls = { certificate = "weir.pem", key = "weir.key" } }\n'
            + location
        ) as running:
            await through("plain", f"ws://127.0.0.1:{running.port('http://127.0.0.1')}")
            port = running.port("https://127.0.0.2")
            secure = {"ssl": running.tls(), "server_hostname": "example.test", "host": "127.0.0.2", "port": port}
            await through("TLS", "wss://example.test", **secure)


asyncio.run(asyncio.wait_for(main(), SECONDS))
