"""How long do requests take at a rate that every proxy can bear? An open loop: see src/bin/load.rs."""
import contextlib, re, statistics, subprocess

from . import machine
from .proxies import Proxy

KEYS = ["p50", "p99", "p99.9", "late"]
CONNECTIONS = 64


def measure(load, binaries, backends, slowest, options):
    """Share of the slowest's maximum to proxy to medians in us."""
    medians = {}
    with contextlib.ExitStack() as running:
        proxies = {name: running.enter_context(Proxy(name, binary, backends, machine.cores()[:1]))
                   for name, binary in binaries.items()}
        for share in (0.5, 0.8):
            samples = {name: [] for name in proxies}
            for _ in range(options.rounds):
                options.quiet()
                for name, proxy in proxies.items():
                    samples[name].append(run(load, proxy.port, share * slowest, options.seconds))
            medians[share] = {name: median(taken) for name, taken in samples.items()}
    return medians


def run(load, port, rate, seconds):
    done = subprocess.run(
        ["taskset", "-c", str(machine.cores()[-1]), load, str(port), str(int(rate)), str(seconds), str(CONNECTIONS)],
        capture_output=True, text=True)
    if done.returncode != 0:
        return None
    return {key: float(value) for key, value in re.findall(r"(\S+) (\d+)", done.stdout) if key in KEYS}


def median(samples):
    """None if the proxy did not keep up in most of the rounds."""
    kept = [sample for sample in samples if sample]
    if len(kept) * 2 <= len(samples):
        return None
    return {key: statistics.median(sample[key] for sample in kept) for key in KEYS}
