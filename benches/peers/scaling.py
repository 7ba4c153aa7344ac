#!/usr/bin/env python3
"""What would one machine with 16 or 64 cores do? A simulation of cores that contend for cache lines.

A core works on its requests without a pause. In each request it writes to lines that other cores write, too: a line
that another core wrote last must be fetched first, and one core at a time gets it. Everything else is the core's own.
The lines are those of a proxied request without an error; what is measured is measured on two cores:

    target/peers/release/contention          nanoseconds to fetch a line from another core
    benches/peers/run --cases small,w2       microseconds of CPU per request

    benches/peers/scaling.py [--work US] [--transfer NS,NS,…]
"""
import argparse, heapq, random

LOCAL = 5  # ns to write to a line that is here already

# Every visit of a request to a line that requests on other cores write: between two visits others may have been there.
# Writes that follow each other at once are one visit. Once per request ("all"), or one line per peer ("peer").
VISITS = [
    # until the request is sent
    ("cursor", "all"),                     # round robin's place in its cycle
    ("slots", "peer"),                     # in_flight, last_attempt
    ("tally", "peer"),                     # requests
    ("budget", "all"),                     # requests of this second, for the retry budget
    ("latency", "peer"),                   # last pick
    ("peer", "peer"),                      # Arc of the peer
    # from the head of the answer on
    ("latency", "peer"),                   # average to the head
    ("tally", "peer"),                     # responses
    ("text", "peer"),                      # Arc of the peer's name, for the log
    ("latency", "peer"),                   # average to the last byte
    ("slots", "peer"),
    ("peer", "peer"),
    ("text", "peer"),
]
COUNTS = {"peer", "text"}


def without_counts(visits):
    return [visit for visit in visits if visit[0] not in COUNTS]


def with_own_tallies(visits):
    """Counted per worker and added up by who looks; of the latency's three visits one is left, at the end."""
    rest = [visit for visit in without_counts(visits) if visit[0] not in ("tally", "budget", "latency")]
    return rest + [("latency", "peer")]


VARIANTS = {
    "as it is": VISITS,
    "no shared Arc per request": without_counts(VISITS),
    "and tallies per worker": with_own_tallies(VISITS),
}


def simulate(visits, cores, peers, work, transfer, requests=300):
    """Requests a second of all cores, as a share of what they would do without contention, and the busiest line."""
    dice = random.Random(1)
    gap = work / (len(visits) + 1)
    owner, free, busy = {}, {}, {}
    events = [(dice.random() * work, core, 0, 0) for core in range(cores)]
    heapq.heapify(events)
    target, done, now = requests * cores, 0, 0
    while done < target:
        now, core, at, peer = heapq.heappop(events)
        if at == len(visits):
            done, at, peer = done + 1, 0, dice.randrange(peers)
            now += gap * (0.5 + dice.random())
        name, scope = visits[at]
        line = (name, peer if scope == "peer" else None)
        took = LOCAL if owner.get(line, core) == core else transfer
        end = max(now, free.get(line, 0)) + took
        owner[line], free[line], busy[line] = core, end, busy.get(line, 0) + took
        heapq.heappush(events, (end + gap * (0.5 + dice.random()), core, at + 1, peer))
    line, most = max(busy.items(), key=lambda item: item[1])
    return done / now * 1e9, done / now * work / cores, line[0], most / now


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=float, default=11.5, help="us of CPU per request, without contention")
    parser.add_argument("--transfer", default="35,70,140", help="ns to fetch a line, comma-separated")
    options = parser.parse_args()
    transfers = [float(text) for text in options.transfer.split(",")]
    print(f"{options.work} us of CPU per request; a line from another core in the ns of each column: "
          "share of linear growth, million requests a second, the busiest line and how long it is")
    print("| | cores | peers | " + " | ".join(f"{transfer:.0f} ns" for transfer in transfers) + " |")
    print("| --- | --- | --- | " + " | ".join("---" for _ in transfers) + " |")
    for variant, visits in VARIANTS.items():
        for cores in (2, 16, 64):
            for peers in (3, 100):
                cells = []
                for transfer in transfers:
                    rate, share, line, busy = simulate(visits, cores, peers, options.work * 1e3, transfer)
                    cells.append(f"{100 * share:.0f} %, {rate / 1e6:.2f} M, {line} {100 * busy:.0f} %")
                print(f"| {variant} | {cores} | {peers} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
