"""What does a request cost? A closed loop: as many requests as the proxy can take, CPU time over their number."""
import contextlib, re, statistics, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .proxies import Proxy, lacks

UPLOAD = Path(__file__).resolve().parent.parent / "configs" / "upload.lua"
EVENT_LOOPS = ["weir", "nginx", "nginx-new", "haproxy"]
# Which handshakes the exchanges are to consist of.
HANDSHAKES = {("tls", "close:/"): "full", ("resume", "close:/"): "resumed"}
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
    # How clients come in, a key of proxies.FRONTS,
    front: str = "http"
    # and what they do, if wrk cannot: transport and protocol, in the words of src/bin/exchanges.
    exchanges: tuple = ()

    @property
    def setup(self):
        return self.workers, self.log, self.front


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
    Case("tls-full", "TLS: a new connection per request, full handshakes", front="tls", proxies=EVENT_LOOPS,
         exchanges=("tls", "close:/")),
    Case("tls-resumed", "TLS: a new connection per request, sessions resumed", front="tls", proxies=EVENT_LOOPS,
         exchanges=("resume", "close:/")),
    Case("tls", "TLS: 20-byte answers", front="tls", proxies=EVENT_LOOPS, exchanges=("tls", "http1:/")),
    Case("tls-1m", "TLS: 1 MiB answers, 16 connections", connections=16, front="tls", proxies=EVENT_LOOPS,
         exchanges=("tls", "http1:/1m")),
    Case("h2-tls", "HTTP/2 over TLS: 20-byte answers, 8 connections of 32 streams", connections=8, front="tls",
         proxies=EVENT_LOOPS, exchanges=("tls", "http2:32")),
    Case("h2", "HTTP/2: 20-byte answers, 8 connections of 32 streams", connections=8, front="h2c", proxies=EVENT_LOOPS,
         exchanges=("plain", "http2:32")),
    Case("websocket", "WebSocket: 32-byte messages there and back", proxies=(*EVENT_LOOPS, "bare"),
         exchanges=("plain", "websocket:32")),
    Case("tcp", "TCP: 20-byte answers", front="tcp", proxies=(*EVENT_LOOPS, "bare"), exchanges=("plain", "http1:/")),
    Case("tcp-1m", "TCP: 1 MiB answers, 16 connections", connections=16, front="tcp", proxies=EVENT_LOOPS,
         exchanges=("plain", "http1:/1m")),
    Case("tcp-new", "TCP: a new connection per request", front="tcp", proxies=EVENT_LOOPS,
         exchanges=("plain", "close:/")),
]


def measure(cases, binaries, backends, programs, options):
    """Case to proxy to median. Cases with the same set-up share the proxies, which all run at once: idle but for one."""
    medians = {}
    for setup in dict.fromkeys(case.setup for case in cases):
        alike = [case for case in cases if case.setup == setup]
        names = [name for name in binaries if any(name in case.proxies for case in alike)]
        workers, log, front = setup
        lacking = {name: lack for name in names if (lack := lacks(name, binaries[name], front))}
        for name, lack in lacking.items():
            print(f"  {name}: {lack}: left out of {', '.join(case.name for case in alike)}", flush=True)
        with contextlib.ExitStack() as running:
            cores = machine.cores() if workers > 1 else machine.cores()[:1]
            if options.share_core and workers == 1:
                running.enter_context(machine.shared(cores[0]))
            proxies = {name: running.enter_context(Proxy(name, binaries[name], backends, cores, workers, log, front))
                       for name in names if name not in lacking}
            for case in alike:
                medians[case.name] = rounds(case, proxies, programs, options)
    return medians


def rounds(case, proxies, programs, options):
    here = {name: proxy for name, proxy in proxies.items() if name in case.proxies}
    samples = {name: [] for name in here}
    for proxy in here.values():
        load(case, proxy, programs, 0.5)
    for _ in range(options.rounds):
        options.quiet()
        for name, proxy in here.items():
            samples[name].append(load(case, proxy, programs, options.seconds))
    silent = [name for name, proxy in here.items() if case.log and proxy.logged() < 64 << 10]
    if silent:
        sys.exit(f"no access log of {', '.join(silent)}: it did less than the others")
    median = {name: middle(taken) for name, taken in samples.items()}
    spread = max((max(s["cpu"] for s in taken) / min(s["cpu"] for s in taken) for taken in samples.values()
                  if not any("not" in s for s in taken)), default=1)
    print(f"  {case.name:11}" + "".join(f"  {name} {row.get('not') or said(row, case)}" for name, row in median.items())
          + f"   (CPU us/request, share of a core used; rounds differ by up to {100 * (spread - 1):.0f} %)", flush=True)
    return median


def said(row, case):
    """Who uses less than its cores has waited for the load: it could have done more, and at less for each request."""
    return f"{row['cpu']:.1f} ({row['cpu'] * row['rate'] / 1e4 / case.workers:.0f} %)"


def middle(taken):
    """A case that was not what its name says has no numbers, but says so."""
    refused = [sample["not"] for sample in taken if "not" in sample]
    if refused:
        return {"not": refused[0]}
    return {key: statistics.median(sample[key] for sample in taken) for key in ("cpu", "rate")}


def load(case, proxy, programs, seconds):
    """CPU us for each request, and how many a second; or what the requests were `not`."""
    return (exchange if case.exchanges else request)(case, proxy, programs, seconds)


def pinned(case):
    return ["taskset", "-c", ",".join(map(str, machine.cores() if case.workers > 1 else machine.cores()[-1:]))]


def request(case, proxy, _, seconds):
    # wrk takes whole seconds; a short warm-up is cut off instead.
    command = [*pinned(case), "wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", *case.wrk,
               f"http://127.0.0.1:{proxy.port}{case.path}"]
    before, began = proxy.cpu_seconds(), time.monotonic()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    # In the closing second of a new connection per request wrk counts resets of its own making.
    failed = errors and (int(errors[1]) or int(errors[3]) or int(errors[4]) or int(errors[2]) and case.name != "new")
    requests = int(re.search(r"(\d+) requests in", out)[1])
    if failed or "Non-2xx" in out or requests == 0:
        worthless(case, proxy, out)
    took = time.monotonic() - began
    return {"cpu": (proxy.cpu_seconds() - before) / requests * 1e6, "rate": requests / took}


def exchange(case, proxy, programs, seconds):
    """As src/bin/exchanges counts: from when all connections are open until the last exchange is over."""
    given = [proxy.port, seconds, case.connections, *case.exchanges]
    command = [*pinned(case), programs / "exchanges", *map(str, given)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as run:
        if run.stdout.readline() != "ready\n":
            worthless(case, proxy, run.communicate()[1])
        before = proxy.cpu_seconds()
        run.stdin.write("go\n")
        run.stdin.flush()
        out = run.stdout.readline()
        cpu = proxy.cpu_seconds() - before
        error = run.communicate()[1]
    found = {key: float(value) for key, value in re.findall(r"(\S+) ([\d.]+)", out)}
    if not found.get("exchanges"):
        worthless(case, proxy, error)
    # Whose handshakes are of another kind than the case's name says does another work.
    kind = HANDSHAKES.get(case.exchanges)
    if kind and found[kind] < 0.99 * found["exchanges"]:
        return {"not": f"not {kind} ({found[kind]:.0f} of {found['exchanges']:.0f})"}
    return {"cpu": cpu / found["exchanges"] * 1e6, "rate": found["exchanges"] / found["seconds"]}


def worthless(case, proxy, why):
    sys.exit(f"{case.name} of {proxy.name}: the load met errors, so its numbers are worthless:\n{why}")
