"""How long do a start and a reload take, with few peers and with many? And how large are the binaries?"""
import os, statistics

from . import machine
from .proxies import RELOAD, Proxy

PEERS = [10, 10_000]


def measure(binaries, ports, rounds):
    """Proxy and number of peers to median seconds of a start and of a reload (None: not by a signal or a file)."""
    found = {}
    for name, binary in binaries.items():
        for count in PEERS:
            starts, reloads = [], []
            for _ in range(rounds):
                with Proxy(name, binary, ports, machine.cores(), peers=peers(count, ports)) as proxy:
                    starts.append(proxy.start_seconds)
                    if name in RELOAD:
                        reloads.append(proxy.reload())
            found[name, count] = (statistics.median(starts), statistics.median(reloads) if reloads else None)
            start, reload = found[name, count]
            print(f"  {name:10} {count:6} peers: start {start * 1e3:.0f} ms, "
                  f"reload {'-' if reload is None else f'{reload * 1e3:.0f} ms'}", flush=True)
    return found


def peers(count, ports):
    """Different addresses. Most of them refuse, which the proxies find out and avoid: what an answer is then worth is
    not measured here."""
    real = [f"127.0.0.1:{port}" for port in ports]
    others = (f"127.{1 + n // 65_536}.{n // 256 % 256}.{n % 256}:{ports[0]}" for n in range(1, count))
    return [*real, *others][:count]


def binary_mib(binary):
    return os.path.getsize(os.path.realpath(binary)) / (1 << 20)
