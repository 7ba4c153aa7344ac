#!/usr/bin/env bash
# docker/numbers: an API that goes out of order for good while its process lives, and a page that needs it.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

a_number() { shows "Your number is "; }
restarted() { [ "$(docker inspect -f '{{.RestartCount}}' "$(container numbers_web)")" -ge "$1" ]; }
did_not_start() { docker logs "$(container numbers_web)" 2>&1 | grep "status FAILED"; }
given() { for n in 1 2 3; do docker logs "$(container numbers_api "$n")" 2>&1; done | grep -c '"GET /rng HTTP/1.[01]" 200'; }
# Requests one after the other until the first that is not a number. Some went to the checks at the start of the page, and to
# whoever looked before; together they are nine.
all_numbers() {
  local n before
  before=$(given)
  for ((n = 0; n < 40; n++)); do curl -s --max-time 20 "$url" >"$work/body"; grep -q "Your number is" "$work/body" || break; done
  echo "$n numbers after $before, then: $(cat "$work/body")" | tee "$work/summary"
  [ $((before + n)) -eq 9 ] && grep -E "There are no numbers now: 50[03]" "$work/body"
}
sick() { docker inspect -f '{{.State.Health.Status}} {{.State.Running}}' "$(container numbers_api "$1")" | grep "unhealthy true"; }
all_sick() { sick 1 && sick 2 && sick 3; }
log_says_all_sick() { log | grep -F "every application says by its health check that it is not well"; }

begins numbers/compose.yaml nginx_alb numbers_web
check "without its dependency the page fails its start and is restarted" within 60 restarted 2
check "… and says why: weir healthcheck -c RngApi:Url" did_not_start
check "weir says so to a visitor: 503" test "$(status_of)" = 503
compose up -d --scale numbers_api=3 >"$work/up" 2>&1 || fails "the API comes" "$work/up"
check "the API comes in three replicas, and the page starts" within 90 a_number
check "three replicas of three numbers: no error before each has given all it had" all_numbers
summary
check "then weir says so plainly, and so does the page" within 10 shows "There are no numbers now: 503, "
check "each API says that it is sick, while its process lives" within 30 all_sick
check "the log says that all are" log_says_all_sick
compose restart -t 1 numbers_api >"$work/up" 2>&1 || fails "the API restarts" "$work/up"
check "restarted, they give numbers again" within 60 a_number
ends
