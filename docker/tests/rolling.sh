#!/usr/bin/env bash
# docker/compose.yaml: every application recreated under 10,000 requests; then what a restart of weir itself costs, alone and with a
# second weir beside it.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

wanted=10000
# As a deploy does it: the old container is stopped and removed, a new one made. (docker-compose 1.29 cannot always recreate in place
# on newer engines.) The next one's turn comes when this one takes part again.
recreates() {
  local old
  old=$(container "$1")
  compose rm -sf "$1" && compose up -d --no-deps "$1" || return 1
  [ "$(container "$1")" != "$old" ] && within 60 answered_by 123
}
all_recreated() { recreates pyfla_app1 && recreates pyfla_app2 && recreates pyfla_app3; }

begins compose.yaml
check "the three applications take turns" within 60 all_three_take_turns
load_begins "$url" --clients 4 --pause 0.005
check "each application is recreated, one by one, with rm and up" all_recreated
check "… under 10,000 requests" within 300 load_reaches "$wanted"
load_ends
check "… of which none failed" load_had_no_failure
summary

# The restart of weir itself: how many requests fail, and for how long is there nobody?
restarts() {
  load_goes_on 200 && compose restart -t 35 "$1" && within 60 answers && load_goes_on 200
}
gap() {
  awk 'BEGIN { first = 0; last = 0 } $2 != 200 { bad++; if (!first) first = $1; last = $1 }
       END { printf "%d requests, %d failed within %d ms", NR, bad, last - first }' "$work/load"
  awk '$2 != 200 { print $2 }' "$work/load" | sort | uniq -c | awk '{ printf "; %s: %d", $2, $1 }'
  echo
}
load_begins "$url" --clients 4 --pause 0.01
check "weir's own container is restarted" restarts nginx_alb
load_ends
gap >"$work/summary"
summary
# Nobody listens meanwhile. That, and nothing else: what was in flight is finished.
check "requests fail only where nobody listens, and all is as before" eval '! awk "{ print \$2 }" "$work/load" | grep -vqE "^(200|refused|reset|error)$"'

# The same configuration, the same network, another port. Clients know both.
second() {
  docker run -d --name weir_rolling_second --network weir_rolling_default -v "$work/alb:/etc/weir:ro" -p 8081:80 weir &&
    within 30 answers http://localhost:8081/
}
clean_up_more() { docker rm -f weir_rolling_second >/dev/null 2>&1 || true; }
check "a second weir starts beside it" second
load_begins "$url" http://localhost:8081/ --clients 4 --pause 0.01
check "the first is restarted" restarts nginx_alb
load_ends
gap >"$work/summary"
summary
check "clients that try the other one lose no request" load_had_no_failure
docker rm -f weir_rolling_second >/dev/null
ends
