#!/usr/bin/env bash
# Containers that join and leave by their labels: `docker = true`, asked of the engine that runs them.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

socket=${DOCKER_SOCKET:-/var/run/docker.sock}
network=weir_labels
weir() { echo weir_labels; }
clean_up_more() {
  docker rm -f weir_labels labels_app_1 labels_app_2 labels_app_3 >/dev/null 2>&1 || true
  docker network rm "$network" >/dev/null 2>&1 || true
}
fails() {
  echo "FAIL  $system: $1"
  tail -n 30 "$2" | cut -c 1-300 | sed 's/^/      /'
  docker ps -a --filter "network=$network" --format '{{.Names}}: {{.Status}}' | sed 's/^/  ps: /'
  docker logs "$(weir)" 2>&1 >/dev/null | tail -n 60 | sed 's/^/  weir: /' || true
  exit 1
}

# weir must be able to read the socket: its group may, and weir's user is nobody in particular.
starts_weir() {
  docker run -d --name weir_labels --network "$network" -p 8080:80 --group-add "$(stat -c %g "$socket")" \
    -v "$work/etc:/etc/weir:ro" -v "$socket:/var/run/docker.sock:ro" weir
}
starts_app() {
  docker run -d --name "labels_app_$1" --network "$network" -e "APP_NUMBER=$1" \
    --label weir.upstream=web-alb --label weir.port=5000 pyfla_app
}
nobody_is_there() { [ "$(status_of)" = 503 ]; }
one_joins() { starts_app 1 && within 30 answered_by 1; }
two_join() { starts_app 2 && starts_app 3 && within 30 answered_by 123; }
one_stops() { docker stop labels_app_2 && within 10 answered_by 13; }
it_starts_again() { docker start labels_app_2 && within 30 answered_by 123; }
one_is_killed() { docker kill labels_app_1 && within 10 answered_by 23; }
one_is_removed() { docker rm -f labels_app_3 && within 10 answered_by 2; }
# One without the label, and one whose group nobody asked for, are none of weir's business.
strangers() {
  docker run -d --name labels_app_3 --network "$network" -e APP_NUMBER=3 --label weir.upstream=other --label weir.port=5000 pyfla_app &&
    docker start labels_app_1 && within 30 answered_by 12
}

mkdir "$work/etc"
cat >"$work/etc/upstream.toml" <<'TOML'
[upstream.web-alb]
docker = true
health_check = { uri = "/health", interval = "1s" }
TOML
chmod -R a+rX "$work"

echo "--- $system: docker run … -v $socket:/var/run/docker.sock:ro weir"
docker build -q -t pyfla_app pyfla_app >"$work/build" 2>&1 || fails "the image is built" "$work/build"
docker network create "$network" >"$work/network" 2>&1 || fails "a network" "$work/network"
check "weir starts" starts_weir
check "without containers the group answers 503" within 20 nobody_is_there
check "a container with the label gets requests" one_joins
costs_no_get "two more join" two_join
costs_no_get "one that is stopped leaves" one_stops
costs_no_get "started again, it is back" it_starts_again
costs_no_get "one that is killed leaves" one_is_killed
costs_no_get "one that is removed leaves" one_is_removed
costs_no_get "one with another group's label does not join, one that returns does" strangers
check "a stop ends weir with exit code 0" stops_cleanly
check "nothing in it panicked" never_panicked
echo "--- $system: $passed passed"
