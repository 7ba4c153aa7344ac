#!/usr/bin/env bash
# docker/health: HEALTHCHECK by `weir healthcheck`, and weir holding traffic until /health passes.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

starting() { [ "$(health_of "$(container "$1")")" = starting ]; }
both_healthy() { is_healthy "$(container health_app)" && is_healthy "$(container health_app2)"; }
# Neither application has been asked for anything but /health: weir, asked for /, says that nobody is ready.
held_back() {
  local status
  status=$(status_of)
  echo "status $status"
  [ "$status" = 503 ] && ! docker logs "$(container health_app)" 2>&1 | grep -F '"GET / '
}
last_check() { docker inspect -f '{{range .State.Health.Log}}{{.Output}}{{end}}' "$1" | grep -F "$2"; }
visitor_went() { [ "$(docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$visitor")" = "exited 0" ]; }
breaks() { docker exec "$(container health_app)" python -c 'import urllib.request as r; print(r.urlopen("http://localhost:8080/break", b"").read())'; }
fixes() { docker exec "$(container health_app)" python -c 'import urllib.request as r; print(r.urlopen("http://localhost:8080/fix", b"").read())'; }
unhealthy() { [ "$(health_of "$(container health_app)")" = unhealthy ]; }
# The first application alone, whether it is called by its name or as a replica.
said_of_it() { said "$1" | grep -E 'health_app([:_]|_1 )'; }
goes_out() { breaks && within 15 said_of_it "up → unhealthy" && within 30 unhealthy; }
comes_back() { fixes && within 15 said_of_it "unhealthy → up" && within 30 both_healthy; }

# The visitor waits for the others, and `up -d` with it: so it is started last.
begins health/compose.yaml nginx_alb health_app health_app2
listen
check "the applications are starting, says Docker" starting health_app
check "meanwhile weir answers 503 itself and asks them for /health alone" held_back
check "they are healthy, says Docker" within 90 both_healthy
check "… by weir healthcheck, whose line docker inspect shows" last_check "$(container health_app)" "status OK, url http://localhost:8080/health"
check "… and by the healthcheck of compose.yaml with its own limit" last_check "$(container health_app2)" "status OK"
check "weir lets requests through" within 10 shows Hello
compose up -d visitor >"$work/up" 2>&1 || fails "the visitor starts" "$work/up"
visitor=$(container visitor)
[ -n "$visitor" ] || visitor=$(docker ps -aq --filter "label=com.docker.compose.project=weir_health" --filter "label=com.docker.compose.service=visitor")
check "depends_on: service_healthy lets a visitor start, who finds the site open" within 30 visitor_went
listen
costs_no_get "an application that says 503 at /health leaves, for weir and for Docker" goes_out
check "… and docker inspect tells why" last_check "$(container health_app)" "status FAILED, url http://localhost:8080/health"
costs_no_get "repaired, it returns" comes_back
ends
