"""How do the numbers compare? Tables in Markdown, as they stand in docs/benchmarks.md."""
import sys

from . import machine
from .proxies import version
from .starting import PEERS, binary_mib


def heading(binaries, options):
    print(machine.describe())
    print(f"benches/peers/run {' '.join(sys.argv[1:])}".rstrip())
    print(f"medians of {options.rounds} rounds of {options.seconds} s; 3 backends, connections to them kept")
    for name, binary in binaries.items():
        print(f"  {name:10} {version(name, binary)}")
    print(flush=True)


def costs(cases, medians):
    if not cases:
        return
    for title, key, digits in (("CPU us per request", "cpu", 1), ("Requests a second", "rate", 0)):
        shown = [case for case in cases if key == "cpu" or case.workers == 1]
        names = list(dict.fromkeys(name for case in shown for name in medians[case.name]))
        table([title, *names, *(["weir / better nginx", "weir / bare"] if key == "cpu" else [])], [
            [case.says, *(cost(medians[case.name].get(name, {}), key, digits) for name in names),
             *(ratios(medians[case.name]) if key == "cpu" else [])]
            for case in shown])


def cost(median, key, digits):
    return median.get("not") or number(median.get(key), digits)


def ratios(row):
    """Of weir to the better nginx, and to the bare calls."""
    cpu = {name: medians["cpu"] for name, medians in row.items() if "cpu" in medians}
    nginx = min((cpu[name] for name in ("nginx", "nginx-new") if name in cpu), default=None)
    return [number(cpu["weir"] / other if other and "weir" in cpu else None, 2) for other in (nginx, cpu.get("bare"))]


def latencies(slowest, medians):
    for share, row in medians.items():
        title = f"us at {share * slowest:.0f} requests/s ({share} of the slowest's maximum)"
        table([title, *row], [
            [key, *(number(medians and medians[key], 0) if medians else "cannot" for medians in row.values())]
            for key in ("p50", "p99", "p99.9", "late")])


def weights(found):
    if not found:
        return
    table(["KiB", *found], [
        ["at start", *(number(row["base"], 0) for row in found.values())],
        *([says, *(number(row[key], 2) for row in found.values())] for says, key in (
            ("per idle connection, nothing said yet", "fresh"),
            ("per idle connection, after two requests", "used"),
            ("per request waiting for its answer", "active"),
            ("per open, silent WebSocket", "websocket"))),
        [f"with {next(iter(found.values()))['connections']:,} idle", *(number(row["total"], 0) for row in found.values())],
        ["with 100,000 idle (extrapolated)",
         *(number(row["base"] + 100_000 * row["used"], 0) for row in found.values())]])


def starts(found, binaries):
    table(["ms", *binaries], [
        [f"{what}, {count:,} peers", *(number(found[name, count][at], 0, 1e3) for name in binaries)]
        for count in PEERS for at, what in enumerate(("start", "reload"))]
        + [["binary, MiB", *(number(binary_mib(binary), 1) for binary in binaries.values())]])


def number(value, digits, scale=1):
    return "-" if value is None else f"{value * scale:,.{digits}f}"


def table(head, rows):
    print()
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()
