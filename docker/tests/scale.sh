#!/usr/bin/env bash
# docker/scale: replicas that come and go under requests, with nothing but their name in upstream.toml.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

scale_to() { compose up -d --no-recreate --scale "pyfla_app=$1" >"$work/up" 2>&1 || { cat "$work/up"; return 1; }; }
seen_since() { awk -v from="$1" '$1 >= from' "$work/load" | grep -o 'Application \[[0-9a-f]*\]' | sort -u | wc -l; }
so_many_answer() {
  local from
  from=$(milliseconds)
  load_goes_on 30
  [ "$(seen_since "$from")" -eq "$1" ]
}
grows_to() { scale_to "$1" && within 60 so_many_answer "$1"; }
# From the first probe that a replica passed until its first answer to a client: the n-th to pass beside the n-th to answer.
first_traffic() {
  local passed_at answered_at
  mapfile -t passed_at < <(docker logs -t "$(weir)" 2>&1 >/dev/null | grep 'checking → up' | while read -r at _; do date -d "$at" +%s%3N; done | sort)
  mapfile -t answered_at < <(awk '!seen[$NF]++ { print $1 }' "$work/load" | sort)
  : >"$work/summary"
  local n latest=0
  for ((n = 0; n < $1; n++)); do
    echo "replica $((n + 1)): passed at ${passed_at[n]}, answered at ${answered_at[n]}"
    [ $((answered_at[n] - passed_at[n])) -le "$latest" ] || [ "$n" -eq 0 ] || latest=$((answered_at[n] - passed_at[n]))
  done
  echo "the slowest got its first request $latest ms after its first pass" | tee "$work/summary"
  [ "$latest" -le 2000 ] && [ ${#answered_at[@]} -eq "$1" ]
}

begins scale/compose.yaml --scale pyfla_app=1
check "one replica answers" within 60 answers
load_begins "$url" --pause 0.02
load_goes_on 10
check "scaled to three, all three get requests" grows_to 3
check "scaled to five, all five get requests" grows_to 5
check "each within two seconds of its first pass" first_traffic 5
summary
check "scaled back to two, two get requests" grows_to 2
load_goes_on 100
load_ends
check "and none of this cost a GET" load_had_no_failure
summary
ends
