"""Do calls of gRPC get through weir? Python's `grpcio` on both sides of it, in plain and over TLS on either side.

Needs Python 3.11, its package grpcio, and openssl. `tests/foreign/grpc_calls.py [WEIR]`.
"""

import concurrent.futures
import os
import queue
import threading
import time

import grpc
from support import check, wait_until, weir

SECONDS = 20
LARGE = 3 << 20
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Application(grpc.GenericRpcHandler):
    """Messages are bytes; what is done with them is in the name of the method."""

    def __init__(self, name, port=0, pair=None):
        """`pair`: the folder of the certificate that it speaks TLS with."""
        self.name = name.encode()
        self.health = SERVING
        self.remaining = None
        self.left = threading.Event()
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(64),
            handlers=[self],
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        address = f"127.0.0.1:{port}"
        if pair:
            files = [((pair / "weir.key").read_bytes(), (pair / "weir.pem").read_bytes())]
            self.port = self.server.add_secure_port(address, grpc.ssl_server_credentials(files))
        else:
            self.port = self.server.add_insecure_port(address)
        self.server.start()

    def service(self, details):
        match details.method.rsplit("/", 1)[-1]:
            case "Check":
                return grpc.unary_unary_rpc_method_handler(lambda *_: self.health)
            case "Echo":
                return grpc.unary_unary_rpc_method_handler(lambda message, _: message)
            case "Name":
                return grpc.unary_unary_rpc_method_handler(lambda *_: self.name)
            case "Sum":
                return grpc.stream_unary_rpc_method_handler(lambda numbers, _: b"%d" % sum(map(int, numbers)))
            case "Count":
                return grpc.unary_stream_rpc_method_handler(lambda n, _: (b"%d" % i for i in range(int(n))))
            case "Chat":
                return grpc.stream_stream_rpc_method_handler(lambda messages, _: (b"re: " + m for m in messages))
            case "Metadata":
                return grpc.unary_unary_rpc_method_handler(self.metadata)
            case "Fail":
                return grpc.unary_unary_rpc_method_handler(self.fail)
            case "FailLate":
                return grpc.unary_stream_rpc_method_handler(self.fail_late)
            case "Hang":
                return grpc.unary_stream_rpc_method_handler(self.hang)
        return None

    def metadata(self, _, context):
        came = dict(context.invocation_metadata())
        context.send_initial_metadata([("x-first", came["x-text"]), ("x-first-bin", came["x-bytes-bin"])])
        context.set_trailing_metadata([("x-last", came["x-text"]), ("x-last-bin", came["x-bytes-bin"])])
        return b"done"

    def fail(self, message, context):
        context.set_trailing_metadata([("x-why", "so")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, message.decode())

    def fail_late(self, _, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "there is no more")

    def hang(self, _, context):
        """Until the client leaves."""
        self.remaining = context.time_remaining()
        context.add_callback(self.left.set)
        yield b"begun"
        self.left.wait(SECONDS)


class Client:
    def __init__(self, channel):
        self.channel = channel

    def call(self, kind, method, request, service="calls.Calls", **more):
        return getattr(self.channel, kind)(f"/{service}/{method}")(request, timeout=more.pop("timeout", SECONDS), **more)

    def unary(self, method, message=b"", **more):
        return self.call("unary_unary", method, message, **more)


def failure(begin):
    """The status with which a call ends, as the client sees it."""
    try:
        return f"OK, with {begin()!r}"
    except grpc.RpcError as error:
        return error


def code(begin):
    error = failure(begin)
    return error.code().name if isinstance(error, grpc.RpcError) else error


def calls(kind, client, application):
    check(f"{kind}: unary", b"hello", client.unary("Echo", b"hello"))
    check(f"{kind}: an empty message", b"", client.unary("Echo"))
    large = os.urandom(LARGE)
    check(f"{kind}: a message of 3 MiB", large, client.unary("Echo", large))
    check(f"{kind}: compressed", b"a" * 10000, client.unary("Echo", b"a" * 10000, compression=grpc.Compression.Gzip))
    summed = client.call("stream_unary", "Sum", (b"%d" % n for n in range(1000)))
    check(f"{kind}: a stream of requests", b"499500", summed)
    counted = list(client.call("unary_stream", "Count", b"1000"))
    check(f"{kind}: a stream of answers", [b"%d" % n for n in range(1000)], counted)

    # One after the other: nothing may wait for more of either.
    said = queue.SimpleQueue()
    heard = client.call("stream_stream", "Chat", iter(said.get, None))
    answers = []
    for number in range(200):
        said.put(b"%d" % number)
        answers.append(next(heard))
    said.put(None)
    check(f"{kind}: streams both ways, turn by turn", [b"re: %d" % n for n in range(200)], answers)
    check(f"{kind}: which end well", ([], grpc.StatusCode.OK), (list(heard), heard.code()))

    futures = [client.channel.unary_unary("/calls.Calls/Echo").future(b"%d" % n, timeout=SECONDS) for n in range(500)]
    check(f"{kind}: five hundred at once", [b"%d" % n for n in range(500)], [future.result() for future in futures])

    sent = [("x-text", "some text"), ("x-bytes-bin", b"\x00\xff\x80")]
    answer, call = client.channel.unary_unary("/calls.Calls/Metadata").with_call(b"", metadata=sent, timeout=SECONDS)
    first = {key: value for key, value in call.initial_metadata() if key.startswith("x-")}
    check(f"{kind}: metadata before", {"x-first": "some text", "x-first-bin": b"\x00\xff\x80"}, first)
    last = {key: value for key, value in call.trailing_metadata() if key.startswith("x-")}
    check(f"{kind}: and after", {"x-last": "some text", "x-last-bin": b"\x00\xff\x80"}, last)

    error = failure(lambda: client.unary("Fail", "naïve: 100 %\n".encode()))
    expected = ("FAILED_PRECONDITION", "naïve: 100 %\n", "so")
    got = (error.code().name, error.details(), dict(error.trailing_metadata()).get("x-why"))
    check(f"{kind}: a status, its words and its metadata", expected, got)
    stream, messages = client.call("unary_stream", "FailLate", b""), []
    error = failure(lambda: [messages.append(message) for message in stream])
    check(f"{kind}: a status in the midst of a stream", ([b"one", b"two"], "DATA_LOSS"), (messages, error.code().name))
    check(f"{kind}: a method that nobody has", "UNIMPLEMENTED", code(lambda: client.unary("Unknown")))
    check(f"{kind}: a service that weir has no location for", "UNIMPLEMENTED",
          code(lambda: client.unary("Echo", service="nobody.Nobody")))

    application.left.clear()
    began = time.monotonic()
    late = code(lambda: list(client.call("unary_stream", "Hang", b"", timeout=1)))
    check(f"{kind}: a deadline that passes", ("DEADLINE_EXCEEDED", True), (late, time.monotonic() - began < 10))
    check(f"{kind}: which the application was told", True, 0 < application.remaining < 2)  # grpcio rounds it up
    check(f"{kind}: and it hears the end", True, application.left.wait(SECONDS))
    application.left.clear()
    stream = client.call("unary_stream", "Hang", b"")
    check(f"{kind}: a call that is cancelled has begun", b"begun", next(stream))
    stream.cancel()
    check(f"{kind}: and its application hears of that", True, application.left.wait(SECONDS))


def channel(url, credentials=None):
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    if credentials:
        return grpc.secure_channel(url, credentials, options + [("grpc.ssl_target_name_override", "example.test")])
    return grpc.insecure_channel(url, options)


def main():
    a, b, secret = Application("a"), Application("b"), None
    locations = """
[[server.location]]
path = "/calls.Calls/"
proxy_pass = "grpc://calls"
[[server.location]]
path = "/watched.Watched/"
proxy_pass = "grpc://watched"
"""

    def toml(folder):
        nonlocal secret
        secret = Application("secret", pair=folder)
        return f"""
client_max_body_size = "0"
[upstream.calls]
servers = [{{ address = "127.0.0.1:{a.port}", fail_timeout = "1s" }}]
[upstream.watched]
servers = ["127.0.0.1:{a.port}", "127.0.0.1:{b.port}"]
health_check = {{ type = "grpc", interval = "200ms", fails = 1, passes = 1 }}
[upstream.secret]
servers = ["127.0.0.1:{secret.port}"]
tls = {{ ca_file = "weir.pem", server_name = "example.test" }}
[[server]]
listen = {{ address = "127.0.0.1:0", h2c = true }}
{locations}
[[server]]
listen = {{ address = "127.0.0.2:0", tls = {{ certificate = "weir.pem", key = "weir.key" }} }}
{locations}
[[server]]
listen = {{ address = "127.0.0.3:0", h2c = true }}
[[server.location]]
path = "/calls.Calls/"
proxy_pass = "grpcs://secret"
"""

    with weir(toml) as running:
        plain, secure = (running.port(url) for url in ("http://127.0.0.1", "https://127.0.0.2"))
        credentials = grpc.ssl_channel_credentials((running.folder / "weir.pem").read_bytes())
        with channel(f"127.0.0.2:{secure}", credentials) as over_tls:
            calls("TLS", Client(over_tls), a)
        to_secret = running.port("http://127.0.0.3")
        with channel(f"127.0.0.3:{to_secret}") as in_plain:
            calls("TLS to the application", Client(in_plain), secret)
        with channel(f"127.0.0.1:{plain}") as in_plain:
            client = Client(in_plain)
            calls("plain", client, a)

            def who():
                return {client.unary("Name", service="watched.Watched") for _ in range(10)}

            wait_until("both are healthy and called", lambda: who() == {b"a", b"b"})
            a.health = NOT_SERVING
            wait_until("who does not serve is left out", lambda: who() == {b"b"})
            a.health = SERVING
            wait_until("who serves again is called again", lambda: who() == {b"a", b"b"})
            check("health: NOT_SERVING takes an application out, SERVING brings it back", True, True)

            a.server.stop(0).wait(SECONDS)
            check("gone: UNAVAILABLE", "UNAVAILABLE", code(lambda: client.unary("Echo", b"hello")))
            check("gone: UNAVAILABLE for a stream", "UNAVAILABLE",
                  code(lambda: list(client.call("unary_stream", "Count", b"1"))))
            check("gone: who has another goes there", {b"b"}, who())
            a = Application("a", a.port)
            wait_until("the one that is back is called", lambda: code(lambda: client.unary("Name")) == "OK, with b'a'")
            check("back: it is called again", b"a", client.unary("Name"))
    for application in (a, b, secret):
        application.server.stop(0).wait(SECONDS)


main()
