"""What does a request cost? A closed loop: as many requests as the proxy can take, CPU time over their number."""
import contextlib, re, statistics, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .proxies import Proxy

UPLOAD = Path(__file__).resolve().parent.parent / "configs" / "upload.lua"
EVENT_LOOPS = ["weir", "nginx", "nginx-new", "haproxy"]
ALL = [*EVENT_LOOPS, "envoy", "traefik", "caddy"]


@dataclass
class Case:
    name: str
    says: str
    path: str = "/"
    connections: int = 64
    wrk: tuple = ()
    workers: int = 1
    log: bool = False
    proxies: tuple = (*ALL, "bare")


CASES = [
    Case("small", "20-byte answers"),
    Case("1k", "1 KiB answers", "/1k"),
    Case("c1", "20-byte answers, 1 connection", connections=1, proxies=(*EVENT_LOOPS, "bare")),
    Case("c16", "20-byte answers, 16 connections", connections=16, proxies=(*EVENT_LOOPS, "bare")),
    Case("c512", "20-byte answers, 512 connections", connections=512, proxies=(*EVENT_LOOPS, "bare")),
    Case("1m", "1 MiB answers, 16 connections", "/1m", 16, proxies=ALL),
    Case("upload", "1 MiB uploads, 16 connections", connections=16, wrk=("-s", str(UPLOAD)), proxies=ALL),
    Case("new", "20-byte answers, a new connection per request", wrk=("-H", "Connection: close"), proxies=ALL),
    Case("log", "20-byte answers, access log to a file", log=True, proxies=ALL),
    Case("w2", "20-byte answers, 2 workers on 2 cores", workers=2, proxies=ALL),
    Case("w4", "20-byte answers, 4 workers on 2 cores", workers=4, proxies=EVENT_LOOPS),
]


def measure(cases, binaries, backends, options):
    """Case to proxy to median. Cases with the same set-up share the proxies, which all run at once: idle but for one."""
    medians = {}
    for setup in dict.fromkeys((case.workers, case.log) for case in cases):
        alike = [case for case in cases if (case.workers, case.log) == setup]
        names = [name for name in binaries if any(name in case.proxies for case in alike)]
        with contextlib.ExitStack() as running:
            cores = machine.cores() if setup[0] > 1 else machine.cores()[:1]
            proxies = {name: running.enter_context(Proxy(name, binaries[name], backends, cores, *setup)) for name in names}
            for case in alike:
                medians[case.name] = rounds(case, proxies, options)
    return medians


def rounds(case, proxies, options):
    here = {name: proxy for name, proxy in proxies.items() if name in case.proxies}
    samples = {name: [] for name in here}
    for proxy in here.values():
        load(case, proxy.port, 0.5)
    for _ in range(options.rounds):
        options.quiet()
        for name, proxy in here.items():
            before = proxy.cpu_seconds()
            requests, rate = load(case, proxy.port, options.seconds)
            samples[name].append({"cpu": (proxy.cpu_seconds() - before) / requests * 1e6, "rate": rate})
    silent = [name for name, proxy in here.items() if case.log and proxy.logged() < 64 << 10]
    if silent:
        sys.exit(f"no access log of {', '.join(silent)}: it did less than the others")
    median = {name: {key: statistics.median(sample[key] for sample in taken) for key in ("cpu", "rate")}
              for name, taken in samples.items()}
    spread = max((max(s["cpu"] for s in taken) / min(s["cpu"] for s in taken) for taken in samples.values()), default=1)
    print(f"  {case.name:7}" + "".join(f"  {name} {row['cpu']:.1f}" for name, row in median.items())
          + f"   (CPU us/request; rounds differ by up to {100 * (spread - 1):.0f} %)", flush=True)
    return median


def load(case, port, seconds):
    """Requests made, and how many a second."""
    # wrk takes whole seconds; a short warm-up is cut off instead.
    cores = machine.cores() if case.workers > 1 else machine.cores()[-1:]
    command = ["taskset", "-c", ",".join(map(str, cores)), "wrk", "-t1", f"-c{case.connections}",
               f"-d{max(1, round(seconds))}s", *case.wrk, f"http://127.0.0.1:{port}{case.path}"]
    began = time.monotonic()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    # In the closing second of a new connection per request wrk counts resets of its own making.
    failed = errors and (int(errors[1]) or int(errors[3]) or int(errors[4]) or int(errors[2]) and case.name != "new")
    requests = int(re.search(r"(\d+) requests in", out)[1])
    if failed or "Non-2xx" in out or requests == 0:
        sys.exit(f"{case.name} on port {port}: the load met errors, so its numbers are worthless:\n{out}")
    return requests, requests / (time.monotonic() - began)
