"""How long do a start and a reload take, with few peers and with many? And how large are the binaries?"""
import os, statistics, time

from . import machine
from .proxies import RELOAD, Proxy

PEERS = [10, 10_000]


def measure(binaries, backends, rounds):
    """Proxy and number of peers to median seconds of a start and of a reload (None: it did not, or cannot by a signal or
    a file)."""
    found = {}
    for name, binary in binaries.items():
        for count in PEERS:
            starts, reloads = [], []
            for _ in range(rounds):
                with Proxy(name, binary, backends[:count], machine.cores()) as proxy:
                    starts.append(proxy.start_seconds)
                    if name in RELOAD:
                        # HAProxy's workers answer before its master hears signals.
                        time.sleep(0.5)
                        reloads.append(proxy.reload())
            reloaded = bool(reloads) and None not in reloads
            found[name, count] = (statistics.median(starts), statistics.median(reloads) if reloaded else None)
            start, reload = found[name, count]
            print(f"  {name:10} {count:6} peers: start {start * 1e3:.0f} ms, "
                  f"reload {'-' if reload is None else f'{reload * 1e3:.0f} ms'}", flush=True)
    return found


def binary_mib(binary):
    return os.path.getsize(os.path.realpath(binary)) / (1 << 20)
