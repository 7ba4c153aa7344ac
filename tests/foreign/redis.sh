#!/usr/bin/env bash
# Does an application that knows nothing of weir work through a [[stream]]? Two of Debian's redis-server behind one
# `least_conn` group: redis-cli, a pipeline, a value of a few MiB, redis-benchmark, and one of the two killed.
# Needs redis-server and redis-tools. `tests/foreign/redis.sh [WEIR]`; the default is target/debug/weir.
# shellcheck source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# An address of its own for each: nobody else's ports are in the way.
first=127.61.$((RANDOM % 250 + 1)).1 second=127.61.$((RANDOM % 250 + 1)).2
for address in "$first" "$second"; do
  mkdir "$folder/$address"
  redis-server --bind "$address" --port 6379 --save '' --appendonly no --dir "$folder/$address" \
    >"$folder/$address/log" 2>&1 &
  processes+=($!)
done
for address in "$first" "$second"; do
  timeout 20 sh -c "until redis-cli -h $address ping >/dev/null 2>&1; do sleep 0.1; done"
done

cat >"$folder/upstream.toml" <<TOML
[upstream.redis]
balance = "least_conn"
servers = [{ address = "$first:6379", fail_timeout = "1s" }, { address = "$second:6379", backup = true }]
health_check = { type = "tcp", interval = "200ms", fails = 2 }
[[stream]]
listen = "127.0.0.1:0"
proxy_pass = "redis"
[admin]
listen = "off"
TOML
start_weir tcp://127.0.0.1
port=$(port_of tcp://127.0.0.1)
cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }

check "SET" OK "$(cli set greeting hello)"
check "GET" hello "$(cli get greeting)"
for _ in $(seq 1000); do echo "INCR counter"; done | cli --pipe >/dev/null
check "a thousand commands in one pipeline" 1000 "$(cli get counter)"
head -c 4000000 /dev/urandom | base64 -w 0 >"$folder/large"
cli -x set large <"$folder/large" >/dev/null
check "a large value there and back" "$(sha256sum <"$folder/large")" "$(cli get large | tr -d '\n' | sha256sum)"
redis-benchmark -h 127.0.0.1 -p "$port" -q -t ping,set,get,lrange_300 -n 2000 -c 20 -P 4 >"$folder/benchmark"
check "redis-benchmark ran" "PING_INLINE PING_MBULK SET GET" \
  "$(for name in PING_INLINE PING_MBULK SET GET; do tr '\r' '\n' <"$folder/benchmark" |
    grep -m 1 -o "^$name: .* requests per second" | cut -d: -f1; done | tr '\n' ' ' | sed 's/ $//')"

# The first goes: the second has another memory, but answers.
cli -h "$first" -p 6379 shutdown nosave >/dev/null 2>&1 || true
check "without the first" PONG "$(cli ping)"
timeout 10 sh -c "until grep -q ' TCP 200 .*$second:6379' '$folder/access.log'; do sleep 0.1; done"
check "and its line in the access log" 1 "$(grep -c " TCP 200 .*$second:6379" "$folder/access.log")"
