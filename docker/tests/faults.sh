#!/usr/bin/env bash
# docker/compose.yaml: what may happen to a container, under requests. Prints a table: what it cost, and how long it took to notice.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

victim=pyfla_app2
network=weir_faults_default
kills() { docker kill "$victim"; }
starts() { docker start "$victim"; }
pauses() { docker pause "$victim"; }
unpauses() { docker unpause "$victim"; }
disconnects() { docker network disconnect "$network" "$victim"; }
connects() { docker network connect --alias "$victim" "$network" "$victim"; }
# A stop and a start in one command: the way back is the engine's.
restarts() { docker restart -t 1 "$victim"; }
nothing() { :; }
# The kernel kills it for asking for more memory than it may have.
eats() {
  curl -s --max-time 30 -X POST localhost:5002/eat || true
  within 10 out_of_memory
}
out_of_memory() { [ "$(docker inspect -f '{{.State.OOMKilled}}' "$victim")" = true ]; }

# fault NAME BREAK MEND: a line of the table.
fault() {
  local name=$1 break=$2 mend=$3 broken mended out back
  load_begins "$url" --clients 4 --pause 0.01
  load_goes_on 20
  broken=$(milliseconds)
  "$break" || return 1
  within 30 leaves "$broken" || { echo "it never left"; return 1; }
  out=$(logged_at "$broken" "$left")
  load_goes_on 20
  mended=$(milliseconds)
  [ "$mend" != nothing ] || mended=$broken
  "$mend" || return 1
  within 60 returns "$mended" || { echo "it never returned"; return 1; }
  back=$(logged_at "$mended" "$returned")
  within 30 answered_by 123 || return 1
  load_goes_on 20
  load_ends
  load_had_no_failure || return 1
  printf '%-13s %9d %7d %9ss %13d ms %15d ms\n' \
    "$name" "$(wc -l <"$work/load")" "$(load_failed)" "$(load_slowest)" $((out - broken)) $((back - mended)) >>"$work/table"
}
left="$victim.* up → (checking|unavail|unhealthy|draining)"
returned="$victim.* → up"
leaves() { logged_at "$1" "$left"; }
returns() { logged_at "$1" "$returned"; }

printf 'services:\n  pyfla_app2:\n    mem_limit: 96m\n    memswap_limit: 96m\n' >"$work/memory.override.yaml"
printf '%-13s %9s %7s %10s %16s %18s\n' container requests failed slowest "ejected after" "returned after" >"$work/table"
begins compose.yaml
check "the three applications take turns" within 60 all_three_take_turns
check "killed" fault killed kills starts
check "paused" fault paused pauses unpauses
check "disconnected from its network" fault disconnected disconnects connects
check "restarted" fault restarted restarts nothing
check "killed for its use of memory" fault OOM-killed eats starts
ends
sed 's/^/      /' "$work/table"
