"""What is counted: configurations and requests, and the picks of benches/pick.rs."""
from dataclasses import dataclass, field

# How much more than the smallest the largest of a series may take.
FLAT = 0.10

PEERS = [3, 100, 10_000]
LOCATIONS = [10, 10_000]
SERVERS = [1, 1_000]

# As benches/pick.rs names them.
METHODS = [
    "round_robin",
    "round_robin, weights 1…5",
    "least_conn",
    "least_conn, leased",
    "least_time last_byte",
    "least_time last_byte, leased",
    "ip_hash",
    "hash",
    "hash consistent",
    "random",
    "random two least_conn",
]


@dataclass
class Case:
    """One configuration of weir and what is asked of it. `@BACKEND@` (its port) and `@DIR@` are filled in."""
    name: str
    config: str
    # Sent in turn.
    requests: list = field(default_factory=lambda: [get()])
    # How many ask at once: more than one, and weir's connections go in step.
    clients: int = 1
    # What is said there and back instead, once the first request has become a tunnel.
    message: bytes = b""


def requests():
    yield Case("small", config())
    yield Case("small, 25 at once", config(), clients=25)
    yield Case("12 fields", config(), [get(fields=TWELVE_FIELDS)])
    yield Case("post 1 KiB", config(), [post(b"x" * 1024)])
    yield Case("access log", config(top='access_log = "@DIR@/access.log"'))
    yield Case("new connection to the peer", config(group="keepalive = 0"))
    # 32 bytes and their framing, there and back.
    yield Case("websocket message", config(), [get("/ws", fields=UPGRADE)], message=b"x" * 38)

    # Sequential requests go to a different peer each, so that a connection kept by one would not serve the next: none is
    # kept, and the work is the same whatever the number of peers. A hashed key stays with its peer and its connection.
    for balance in ["round_robin", "least_conn", "least_time last_byte", "random"]:
        for count in PEERS:
            yield Case(f"{balance}, peers {count}", config(group=f'balance = "{balance}"\nkeepalive = 0', peers=count))
    for count in PEERS:
        yield Case(f"hash consistent, peers {count}",
                   config(group='balance = "hash $request_uri consistent"', peers=count))

    for count in LOCATIONS:
        paths = [f"/service/{i:05}/" for i in range(count)]
        asked = paths[:: max(1, count // 10)]
        yield Case(f"locations {count}", config(servers=[server(paths)]), [get(path + "item") for path in asked])
    for count in SERVERS:
        names = [f"site{i:04}.example.org" for i in range(count)]
        asked = names[:: max(1, count // 10)]
        yield Case(f"servers {count}", config(servers=[server(["/"], name) for name in names]),
                   [get(host=name) for name in asked])


def picks():
    """Name of the case, name of the method in benches/pick.rs, number of peers."""
    for method in METHODS:
        for count in PEERS:
            yield f"pick {method}, peers {count}", method, count


def growth(counts):
    """The series among the counted cases, smallest first, each with why it may grow or None."""
    series = {}
    for name in counts:
        stem, _, number = name.rpartition(" ")
        if stem.endswith(("peers", "locations", "servers")) and number.isdigit():
            series.setdefault(stem, []).append(name)
    # A step more of a search is 10 % of a pick, but a thousandth of the request it is for.
    why = lambda stem: "a pick by itself" if stem.startswith("pick ") else None
    return [(names, why(stem)) for stem, names in series.items() if len(names) > 1]


def config(top='access_log = "off"', group="", peers=1, servers=None):
    """One worker; the limits that would end a connection in the midst of a count are out of reach."""
    addresses = ", ".join(f'"127.{1 + i // 62_500}.{i // 250 % 250}.{1 + i % 250}:@BACKEND@"' for i in range(peers))
    return f"""workers = 1
{top}
keepalive_requests = 1000000000

[upstream.web]
{group}
servers = [{addresses}]
keepalive_requests = 1000000000

{"".join(servers or [server(["/"])])}
[admin]
listen = "unix:@DIR@/admin.sock"
"""


def server(paths, name=None):
    named = f'server_name = ["{name}"]\n' if name else ""
    locations = "".join(f'[[server.location]]\npath = "{path}"\nproxy_pass = "http://web"\n' for path in paths)
    return f'[[server]]\nlisten = "127.0.0.1:0"\n{named}{locations}'


def get(path="/", host="bench.example.org", fields=""):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()


def post(body):
    head = f"POST /form HTTP/1.1\r\nHost: bench.example.org\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"

# With Host, what a browser sends.
TWELVE_FIELDS = """\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Accept-Encoding: gzip, deflate, br, zstd
Referer: http://bench.example.org/articles?page=2
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark
Upgrade-Insecure-Requests: 1
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: same-origin
Cache-Control: max-age=0
""".replace("\n", "\r\n")
