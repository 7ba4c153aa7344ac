"""How are instructions counted? callgrind counts between two moments, and for each thread by itself."""
import re, signal, subprocess, time
from functools import partial
from pathlib import Path

from lockstep import Wire

REQUESTS = 1000
# Until pools, buffers and the allocator have what they need.
WARM_UP = 50
PICKS = 10_000
# A start with 10,000 peers takes some seconds under valgrind.
PATIENCE = 120


def per_request(weir, case, scratch):
    """Instructions of the worker's thread per request. Start-up and warm-up are not in it: the counters are set to zero
    after them, while weir waits for the client. What the other threads do is not in it, either: it goes by the clock."""
    folder = Path(scratch) / re.sub(r"\W+", "-", case.name)
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    with Wire() as wire:
        config = folder / "weir.toml"
        config.write_text(case.config.replace("@BACKEND@", str(wire.port)).replace("@DIR@", str(folder)))
        with open(folder / "log", "w+") as log:
            valgrind = subprocess.Popen(
                ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={folder}/count",
                 weir, "run", "-c", config], stdout=log, stderr=log)
            try:
                wire.connect(valgrind.pid, await_port(valgrind, folder / "log"), case.clients)
                exchange = partial(wire.exchange, case.requests)
                if case.message:
                    exchange = partial(wire.talk, case.message, wire.switch(case.requests[0]))
                exchange(WARM_UP)
                tell(valgrind, "zero")
                exchange(REQUESTS)
                tell(valgrind, "dump")
            except (OSError, EOFError, RuntimeError) as error:
                log.seek(0)
                raise SystemExit(f"{case.name}: {error!r}\n{log.read()}")
            finally:
                end(valgrind)
    # One file a thread. The others are far behind the worker that serves the requests.
    totals = [total(file) for file in folder.glob("count.1-*")]
    return max(totals) / REQUESTS


def await_port(valgrind, log):
    """The port that weir says it listens on, when it does: chosen before, it might be another's by then."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and valgrind.poll() is None:
        if said := re.search(r"listening on http://127\.0\.0\.1:(\d+)\n", log.read_text()):
            return int(said[1])
        time.sleep(0.02)
    raise RuntimeError("weir does not listen")


def per_pick(pick, method, peers, scratch):
    """Instructions per pick, counted within the function that does nothing but pick."""
    file = Path(scratch) / "picks"
    subprocess.run(
        ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={file}", "--toggle-collect=pick::pick_often*",
         pick, "--count", method, str(peers), str(PICKS)], check=True, timeout=PATIENCE)
    return total(file) / PICKS


def tell(valgrind, command):
    told = subprocess.run(["vgdb", f"--pid={valgrind.pid}", "--wait=10", command], capture_output=True, text=True,
                          timeout=60)
    if told.returncode:
        raise RuntimeError(f"vgdb {command}: {told.stderr}")


def total(file):
    found = re.search(r"^(?:summary|totals): (\d+)", Path(file).read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
