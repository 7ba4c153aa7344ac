"""Is it more than it was? baseline.toml, and the comparison with it."""
import datetime, platform, subprocess, tomllib
from pathlib import Path

FILE = Path(__file__).resolve().parent / "baseline.toml"
# How far a count may be from the baseline: 3 %, and of the shortest picks one instruction.
TOLERANCE = 0.03
ONE = 1.0


def compare(counts, complete):
    """Prints what differs from the baseline. Returns how many counts are above it, or not in it."""
    if not FILE.exists():
        print("there is no baseline: --bless writes one")
        return 1
    known = tomllib.loads(FILE.read_text())
    before, failures, below = known["instructions"], 0, 0
    for name, count in counts.items():
        if name not in before:
            print(f"{name}: {count:,.1f}, and not in the baseline")
            failures += 1
            continue
        change = f"{name}: {count:,.1f} instead of {before[name]:,.1f}, {count / before[name] - 1:+.1%}"
        room = max(before[name] * TOLERANCE, ONE)
        if count > before[name] + room:
            print(f"ABOVE {change}")
            failures += 1
        elif count < before[name] - room:
            print(f"below {change}")
            below += 1
    gone = sorted(before.keys() - counts.keys()) if complete else []
    for name in gone:
        print(f"{name}: in the baseline, and not counted")
    print(f"{len(counts)} counts: {failures} above the baseline, {below} below it")
    differences = [f"{key}: {was}, now {now}" for key, now in surroundings().items() if (was := known["made_with"][key]) != now]
    if differences and (failures or below):
        print(f"the baseline was made with something else ({'; '.join(differences)}): that alone may be the cause")
    if below:
        print("it got better: make that the baseline with --bless")
    return failures + len(gone)


def write(counts, keep_others):
    if keep_others and FILE.exists():
        counts = tomllib.loads(FILE.read_text())["instructions"] | counts
    lines = ["# Instructions per request and per pick, written by `benches/instructions/run --bless`.", "", "[made_with]",
             f'date = "{datetime.date.today()}"']
    lines += [f'{key} = "{value}"' for key, value in surroundings().items()]
    lines += ["", "[instructions]", *(f'"{name}" = {count:.1f}' for name, count in counts.items())]
    FILE.write_text("\n".join(lines) + "\n")
    print(f"wrote {FILE.name}")


def surroundings():
    """What the counts depend on besides weir: the compiler, the C library's copies and searches, what valgrind shows of
    the processor (never AVX-512)."""
    said = lambda *command: subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    flags = next((line.split() for line in open("/proc/cpuinfo") if line.startswith(("flags", "Features"))), [])
    return {
        "rustc": said("rustc", "--version"),
        "valgrind": said("valgrind", "--version"),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine() + (" with AVX2" if "avx2" in flags else ""),
    }
