"""What do processes use, and is the machine at rest?"""
import contextlib, os, platform, subprocess, sys, time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cores():
    return sorted(os.sched_getaffinity(0))


def family(root):
    """A process and its living descendants."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children.get(pid, [])
    return found


def cpu_seconds(root):
    """User and system time of a process, its threads and its living descendants."""
    ticks = 0
    for pid in family(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


@contextlib.contextmanager
def shared(core):
    """A process that does nothing but compute, and takes its half of the core."""
    spinner = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def memory_kib(root):
    """Proportional resident memory of a process and its descendants: shared pages are counted once."""
    total = 0
    for pid in family(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def await_quiet(limit, patience):
    """Waits until the load average of the last minute is below the limit, at most `patience` seconds."""
    deadline = time.monotonic() + patience
    while os.getloadavg()[0] >= limit and time.monotonic() < deadline:
        time.sleep(2)
    return os.getloadavg()[0] < limit


def describe():
    with open("/proc/cpuinfo") as info:
        model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "?")
    return (f"{time.strftime('%Y-%m-%d %H:%M')}  {model}, {len(cores())} cores, Linux {platform.release()}, "
            f"load average {os.getloadavg()[0]:.1f}")
