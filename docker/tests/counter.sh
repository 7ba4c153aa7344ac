#!/usr/bin/env bash
# docker/counter: Flask and Redis, scaled to three.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

# Thirty visits: are they numbered one after the other, whoever answered, and did three answer?
count_together() {
  local n
  for ((n = 0; n < 30; n++)); do curl -sf --max-time 10 "$url"; done >"$work/visits"
  cat "$work/visits"
  [ "$(awk '{ print $2 + 0 }' "$work/visits" | awk 'NR > 1 && $1 != last + 1 { bad = 1 } { last = $1 } END { print NR, bad + 0 }')" = "30 0" ] || return 1
  [ "$(awk '{ print $NF }' "$work/visits" | sort -u | wc -l)" -eq 3 ]
}
three_answer() { for _ in 1 2 3 4 5 6; do curl -sf --max-time 10 "$url"; done | awk '{ print $NF }' | sort -u | wc -l | grep -qx 3; }
# Redis, asked by a client of the host through weir's port.
hits() { exec 3<>/dev/tcp/127.0.0.1/6379 && printf 'GET hits\r\nQUIT\r\n' >&3 && timeout 5 cat <&3 | sed -n '2s/\r//p'; }
counts_as_the_page() {
  local page
  page=$(curl -sf --max-time 10 "$url" | awk '{ print $2 + 0 }')
  echo "the page says $page, Redis says $(hits)"
  [ "$(hits)" = "$page" ]
}
restarts_redis() { compose restart -t 5 redis && within 20 answers; }
kills_one() { docker kill "$(container counter 1)" && within 20 said "up → "; }

begins counter/compose.yaml --scale counter=3
check "three replicas answer" within 60 three_answer
check "thirty visits are counted one after the other, by three replicas" count_together
check "Redis itself is at weir's port 6379, as a stream" counts_as_the_page
check "after a restart of Redis the visits go on" restarts_redis
listen
costs_no_get "one of them is killed" kills_one
ends
