"""What do connections weigh? Proportional resident memory of all processes of a proxy, without the kernel's buffers."""
import resource, socket, time

from . import machine
from .proxies import Proxy

REQUEST = b"GET %b HTTP/1.1\r\nHost: bench\r\n%b\r\n"
UPGRADE = (b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
ACTIVE = 1_000
# Seconds.
SETTLED = 8


def measure(binaries, backends, idle):
    """Proxy to KiB: at start, per idle connection that has said nothing, that has had two answers, per waiting request, and per
    WebSocket that is open and silent."""
    # Each process has its own limit: the proxy needs one descriptor for each idle connection, and so does this one.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = max(100, min(idle, hard - 1_000))
    found = {}
    for name, binary in binaries.items():
        row = {"connections": idle}
        with Proxy(name, binary, backends, machine.cores()[:1]) as proxy:
            time.sleep(1)
            row["base"] = proxy.memory_kib()
            row["fresh"] = weigh(proxy, idle, None)
        with Proxy(name, binary, backends, machine.cores()[:1]) as proxy:
            time.sleep(1)
            row["used"] = weigh(proxy, idle, b"/")
            row["total"] = row["base"] + row["used"] * idle
        with Proxy(name, binary, backends, machine.cores()[:1]) as proxy:
            time.sleep(1)
            row["active"] = weigh(proxy, ACTIVE, b"/hold")
        with Proxy(name, binary, backends, machine.cores()[:1]) as proxy:
            time.sleep(1)
            # Each takes the proxy two descriptors.
            row["websocket"] = weigh(proxy, idle // 2, b"/ws", UPGRADE, b"HTTP/1.1 101")
        found[name] = row
        print(f"  {name:10} base {row['base'] / 1024:.1f} MiB, KiB per connection: fresh {row['fresh']:.2f}, "
              f"after two requests {row['used']:.2f}, waiting for an answer {row['active']:.2f}, "
              f"WebSocket {row['websocket']:.2f}", flush=True)
    return found


def weigh(proxy, count, path, fields=b"", answer=b"HTTP/1.1 200"):
    """KiB that each of so many connections adds."""
    before = proxy.memory_kib()
    connections = []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
            connections.append(connection)
            if path is None:
                continue
            # Twice: what is kept for a client that comes back counts as well.
            for _ in range(2 if path == b"/" else 1):
                connection.sendall(REQUEST % (path, fields))
                if path != b"/hold" and not connection.recv(4096).startswith(answer):
                    raise RuntimeError(f"{proxy.name}: no answer on connection {len(connections)}")
        # A proxy may give back what an idle connection does not need when it has been idle for a while.
        time.sleep(SETTLED)
        return (proxy.memory_kib() - before) / count
    finally:
        for connection in connections:
            connection.close()
