#!/usr/bin/env bash
# deploy/swarm/stack.yml on a swarm of one node: this engine, for the time of the test. One that is in a swarm already is left alone.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

stack=weir_swarm
export WEIR_PORT=8080
# The clients are in the stack's network and ask the tasks of weir by name: that works on kernels without IPVS, too, where the
# swarm's own mesh (and so the published port) does not.
load_begins() {
  rm -f "$work/stop" "$work/load"
  : >"$work/load"
  docker run -d --rm --name weir_swarm_load --network "${stack}_web" -v "$PWD/tests:/tests:ro" -v "$work:/load" python:3-slim \
    python3 /tests/load.py http://tasks.weir/ http://tasks.weir/ --pause 0.01 --until /load/stop --lines /load/load >/dev/null
  load=weir_swarm_load
}
load_ends() {
  touch "$work/stop"
  docker wait "$load" >/dev/null 2>&1 || true
  load=
}
has_ipvs() { [ -e /proc/net/ip_vs ]; }
in_a_swarm() { [ "$(docker info -f '{{.Swarm.LocalNodeState}}')" = active ]; }
clean_up_more() {
  docker rm -f weir_swarm_load >/dev/null 2>&1 || true
  docker stack rm "$stack" >/dev/null 2>&1 || true
  # The network goes when its last task has gone.
  within 60 eval '[ -z "$(docker ps -aq --filter "label=com.docker.stack.namespace=$stack")" ]' || true
  docker swarm leave --force >/dev/null 2>&1 || true
}
fails() {
  echo "FAIL  $system: $1"
  tail -n 30 "$2" | cut -c 1-300 | sed 's/^/      /'
  docker service ls
  docker service ps --no-trunc "${stack}_weir" "${stack}_app" 2>&1 | cut -c 1-250 | sed 's/^/  ps: /'
  docker service logs --tail 40 "${stack}_weir" 2>&1 | cut -c 1-250 | sed 's/^/  weir: /'
  exit 1
}
running() { [ "$(docker service ls -f "name=${stack}_$1" --format '{{.Replicas}}')" = "$2" ]; }
healthy_weirs() { [ "$(docker ps -q --filter "label=com.docker.swarm.service.name=${stack}_weir" --filter health=healthy | wc -l)" -eq "$1" ]; }
# Which slots of the application answer, and does nobody fail?
slots() {
  local from
  from=$(wc -l <"$work/load")
  load_reaches_within $((from + 30)) && [ "$(tail -n "+$((from + 1))" "$work/load" | grep -oE 'Application \[[0-9]+' | sort -u | grep -oE '[0-9]+' | tr -d '\n')" = "$1" ]
}
load_reaches_within() { within 30 load_reaches "$1"; }
three_slots() {
  load_begins
  local code=0
  within 60 slots 123 || code=1
  tail -n 5 "$work/load"
  load_ends
  return "$code"
}
rolls_the_application() { docker service update -q --force "${stack}_app" && within 60 running app 3/3 && within 30 slots 123; }
rolls_weir() { docker service update -q --force "${stack}_weir" && within 60 running weir 2/2 && within 30 healthy_weirs 2; }
scales_the_application() { docker service scale -d "${stack}_app=5" && within 60 running app 5/5 && within 30 slots 12345; }
# An image whose weir never becomes healthy: the update is taken back.
bad_update() {
  docker service update -q -d --health-cmd '/weir healthcheck http://127.0.0.1:9/' --health-retries 1 --health-start-period 0s "${stack}_weir"
  within 90 eval '[ "$(docker service inspect -f "{{.UpdateStatus.State}}" "${stack}_weir")" = rollback_completed ]' && within 30 running weir 2/2
}

if in_a_swarm; then
  echo "--- $system: left out, for this engine belongs to a swarm already"
  trap - EXIT
  rm -rf "$work"
  exit 0
fi
echo "--- $system: docker stack deploy -c deploy/swarm/stack.yml"
docker build -q -t pyfla_app pyfla_app >"$work/build" 2>&1 || { cat "$work/build"; exit 1; }
docker swarm init --advertise-addr 127.0.0.1 >"$work/swarm" 2>&1 || { cat "$work/swarm"; exit 1; }
check "the stack is accepted" docker stack deploy --resolve-image never -c ../deploy/swarm/stack.yml "$stack"
check "two weirs are healthy" within 90 healthy_weirs 2
check "three applications answer: tasks.app has an address for each" three_slots
if has_ipvs; then check "they answer at the published port" within 30 answers; else echo "      no IPVS in this kernel: no mesh, no published port"; fi
costs_no_get "the applications are updated, one by one, the new one first" rolls_the_application
costs_no_get "… and scaled to five, which all get requests" scales_the_application
costs_no_get "weir itself is updated, one by one, the new one first" rolls_weir
costs_no_get "a weir that does not become healthy is rolled back" bad_update
echo "--- $system: $passed passed"
