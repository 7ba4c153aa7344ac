#!/usr/bin/env bash
# Does the container keep its promises? The image, docker/compose.yaml and docker/course/compose.yaml on a real engine.
# Needs docker, docker-compose (or Compose v2), curl, port 8080, and the base images (docker/ci/base-images.sh).
# Prints a line per check, and "N passed, N failed" at the end.
set -euo pipefail
cd "$(dirname "$0")"

url=http://localhost:8080/
work=$(mktemp -d)
form=main
passed=0 failed=0

compose() {
  local file=compose.yaml
  [ "$form" = main ] || file=$form/compose.yaml
  if command -v docker-compose >/dev/null; then set -- docker-compose -p "weir_$form" -f "$file" -f "$work/$form.yaml" "$@"
  else set -- docker compose -p "weir_$form" -f "$file" -f "$work/$form.yaml" "$@"; fi
  "$@"
}

clean_up() {
  local code=$?
  touch "$work/stop"
  wait
  for form in main course; do
    if [ -e "$work/$form.yaml" ]; then
      # What weir had to say is worth seeing if something failed.
      if [ "$failed" -gt 0 ] || [ "$code" -ne 0 ]; then docker logs --tail 60 nginx_alb 2>&1 | sed 's/^/  log: /' || true; fi
      compose unpause >/dev/null 2>&1 || true
      compose down -v -t 1 >/dev/null 2>&1 || true
    fi
  done
  rm -rf "$work"
}
trap clean_up EXIT

# check CLAIM COMMAND...: one line; the command's output only if it fails.
check() {
  local claim=$1 began=${began:-$SECONDS}
  shift
  if "$@" >"$work/output" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $form: $claim ($((SECONDS - began))s)"
  else
    failed=$((failed + 1))
    echo "FAIL  $form: $claim ($((SECONDS - began))s)"
    tail -n 20 "$work/output" | cut -c 1-200 | sed 's/^/      /'
  fi
}

# within SECONDS COMMAND...: until it succeeds; the last output counts.
within() {
  local milliseconds=$(($1 * 1000)) began
  shift
  began=$(date +%s%3N)
  until "$@"; do
    [ $(($(date +%s%3N) - began)) -lt "$milliseconds" ] || return 1
    sleep 0.1
  done
}

# The numbers of the applications that answer N requests, one curl each: "123123". "x" for a request that failed.
turns() {
  local n body
  for ((n = 0; n < $1; n++)); do
    body=$(curl -sf --max-time 10 "$url") || body=
    if [[ $body =~ ^'Web Application ['([1-9])']'$ ]]; then printf %s "${BASH_REMATCH[1]}"; else printf x; fi
  done
}

turns_match() {
  local seen
  seen=$(turns "$1")
  echo "answered by $seen, expected $2"
  [[ $seen =~ ^($2)$ ]]
}
# Under load others take turns in between: who answers at all?
answered_by() {
  local seen
  seen=$(turns 12 | grep -o . | sort -u | tr -d '\n')
  echo "answered by $seen, expected $1"
  [ "$seen" = "$1" ]
}
all_three_take_turns() { turns_match 6 '123123|231231|312312'; }
thirty_in_order() { turns_match 30 '(123){10}|(231){10}|(312){10}'; }

# Two clients send GETs one after the other, each on a connection of its own, until load_ends.
load_begins() {
  rm -f "$work/stop"
  : >"$work/load"
  local client
  for client in 1 2; do
    while [ ! -e "$work/stop" ]; do
      curl -s --max-time 20 -o "$work/body$client" -w "%{http_code} %{time_total} " "$url" >"$work/line$client" || true
      echo "$(cat "$work/line$client") $(head -c 80 "$work/body$client")" >>"$work/load"
    done &
  done
}
load_goes_on() {
  local target=$(($(wc -l <"$work/load") + $1))
  within 60 load_reaches "$target"
}
load_reaches() { [ "$(wc -l <"$work/load")" -ge "$1" ]; }
load_ends() {
  touch "$work/stop"
  wait
}
load_had_no_failure() {
  local bad slowest
  bad=$(grep -cvE '^200 [0-9.]+ +Web Application \[[123]\]$' "$work/load" || true)
  slowest=$(cut -d' ' -f2 "$work/load" | sort -n | tail -n1)
  echo "$(wc -l <"$work/load") requests, $bad failed, the slowest took ${slowest}s" | tee "$work/summary"
  grep -vE '^200 [0-9.]+ +Web Application' "$work/load" | head -n 5 || true
  [ "$bad" -eq 0 ] && load_reaches 20
}
# costs_no_get CLAIM COMMAND...: under load; the command ends when what it does has had its effect.
costs_no_get() {
  local claim=$1 ok=yes began=$SECONDS
  shift
  load_begins
  load_goes_on 10 || ok=
  "$@" >"$work/event" 2>&1 || ok=
  load_goes_on 10 || ok=
  load_ends
  check "$claim" test -n "$ok"
  [ -n "$ok" ] || tail -n 20 "$work/event" | sed 's/^/      /'
  began=$SECONDS
  check "… and cost no GET" load_had_no_failure
  sed 's/^/      /' "$work/summary"
}

stop_leaves() { docker stop -t 2 pyfla_app2 && within 20 answered_by 13; }
start_returns() { docker start pyfla_app2 && within 30 answered_by 123; }
kill_leaves_and_returns() { docker kill pyfla_app3 && within 20 answered_by 12 && docker start pyfla_app3 && within 30 answered_by 123; }
freeze_leaves_and_returns() { docker pause pyfla_app1 && within 20 answered_by 23 && docker unpause pyfla_app1 && within 30 answered_by 123; }
address_of() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }
# Docker hands out the lowest free address: who starts first gets what the other one had.
swap_addresses() {
  local first second before after
  before="$(address_of pyfla_app1) $(address_of pyfla_app2)"
  if [ "$(tr ' ' '\n' <<<"$before" | sort -V | head -n1)" = "$(address_of pyfla_app1)" ]; then first=pyfla_app2 second=pyfla_app1
  else first=pyfla_app1 second=pyfla_app2; fi
  docker stop -t 1 "$first" && docker stop -t 1 "$second" && docker start "$first" && docker start "$second" || return 1
  after="$(address_of pyfla_app1) $(address_of pyfla_app2)"
  echo "before: $before; after: $after"
  [ "$before" != "$after" ] && within 30 answered_by 123
}

begins() {
  form=$1
  local alb=./alb
  [ "$form" = main ] || alb=./$form/alb
  # The tests edit a copy of the mounted folder.
  mkdir "$work/$form-alb"
  cp "$alb/upstream.toml" "$work/$form-alb/"
  chmod -R a+rX "$work/$form-alb"
  upstream_toml=$work/$form-alb/upstream.toml
  printf 'services:\n  nginx_alb:\n    volumes:\n      - %s:/etc/weir:ro\n' "$work/$form-alb" >"$work/$form.yaml"
  echo "--- $form: docker-compose up --build -d"
  compose up --build -d >"$work/up" 2>&1 || { tail -n 30 "$work/up"; exit 1; }
}
ends() {
  check "a stop ends it with exit code 0" stops_cleanly
  check "nothing in it panicked" never_panicked
  compose down -v -t 1 >/dev/null 2>&1
  rm "$work/$form.yaml"
}
stops_cleanly() { docker stop -t 40 nginx_alb && [ "$(docker inspect -f '{{.State.ExitCode}}' nginx_alb)" = 0 ]; }
never_panicked() { ! docker logs nginx_alb 2>&1 | grep -A5 panicked; }

healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' nginx_alb)" = healthy ]; }
small() {
  local bytes
  bytes=$(docker image inspect -f '{{.Size}}' weir)
  echo "$bytes bytes" | tee "$work/summary"
  [ "$bytes" -lt 15000000 ]
}
non_root() {
  local uid
  uid=$(ps -o uid= -p "$(docker inspect -f '{{.State.Pid}}' nginx_alb)" | tr -d ' ')
  echo "runs as $uid"
  [ "$uid" = 65532 ]
}
# Docker itself adds /dev, /proc, /sys and the files of name resolution.
nothing_but_weir() {
  local files
  files=$(docker export nginx_alb | tar -t | grep -vE '/$|^(dev|proc|sys)/|^etc/(hosts|hostname|resolv.conf|mtab)$|^\.dockerenv$' | sort | tr '\n' ' ')
  echo "holds $files"
  [ "$files" = "etc/weir/upstream.toml weir " ] || [ "$files" = "weir " ]
}
accepts_its_own_configuration() { docker run --rm weir check; }
accepts_the_mounted_configuration() { docker exec nginx_alb /weir check; }

same_process() { [ "$(docker inspect -f '{{.State.Pid}} {{.RestartCount}}' nginx_alb)" = "$process" ]; }
# Written beside it and moved over it, as editors do.
replace_upstream_toml() {
  sed "$1" "$upstream_toml" >"$work/new"
  chmod a+r "$work/new"
  cp "$work/new" "$upstream_toml.new"
  mv "$upstream_toml.new" "$upstream_toml"
}
give_the_first_more() {
  replace_upstream_toml 's/^  "pyfla_app1:5000",/  { address = "pyfla_app1:5000", weight = 3 },/'
  grep weight "$upstream_toml"
}
misspell() {
  sed 's/weight = 3/wieght = 5/' "$upstream_toml" >"$work/new"
  cat "$work/new" >"$upstream_toml"
  # shellcheck disable=SC2016
  within 5 said 'did you mean `weight`'
}
restore() { cat alb/upstream.toml >"$upstream_toml"; }
first_has_more() { turns_match 10 '(12131){2}|(21311){2}|(13112){2}|(31121){2}|(11213){2}'; }
weigh_in_two_seconds() { give_the_first_more && within 2 first_has_more && same_process; }
refuse_and_say_so() { misspell && first_has_more && same_process && healthy; }
restore_in_two_seconds() { restore && within 2 all_three_take_turns && same_process; }
change_upstream_toml() {
  give_the_first_more && within 10 first_has_most && misspell && restore && within 10 first_has_no_more && same_process
}
firsts_of_thirty() { turns 30 | tr -cd 1 | wc -c; }
first_has_most() { [ "$(firsts_of_thirty)" -ge 14 ]; }
first_has_no_more() { [ "$(firsts_of_thirty)" -lt 14 ]; }

# The program log, on stderr, since the last `listen`; the access log is on stdout.
listen() { since=$(date +%s); }
said() { docker logs --since "$since" nginx_alb 2>&1 >/dev/null | grep -F "$1"; }

begins main
process=$(docker inspect -f '{{.State.Pid}} {{.RestartCount}}' nginx_alb)
check "the container is healthy by its own HEALTHCHECK" within 60 healthy
check "the three applications take turns" within 60 all_three_take_turns
check "thirty requests go 1, 2, 3, 1, …" thirty_in_order
check "the image is smaller than 15 MB" small
sed 's/^/      /' "$work/summary"
check "weir runs as 65532" non_root
check "the image holds weir, its configuration and nothing else" nothing_but_weir
check "the image's own configuration is good" accepts_its_own_configuration
check "the mounted configuration is good" accepts_the_mounted_configuration
listen
costs_no_get "a stopped application leaves the rotation" stop_leaves
check "… which the log says" said pyfla_app2
costs_no_get "started again, it returns" start_returns
costs_no_get "a killed application leaves, and returns" kill_leaves_and_returns
costs_no_get "a frozen application leaves, and returns" freeze_leaves_and_returns
costs_no_get "applications that exchanged their addresses both return" swap_addresses
check "an edited upstream.toml takes effect within two seconds" weigh_in_two_seconds
listen
check "a broken edit changes nothing and is logged" refuse_and_say_so
check "the repaired file takes effect within two seconds" restore_in_two_seconds
check "thirty requests go 1, 2, 3, 1, … as before" thirty_in_order
listen
costs_no_get "three edits" change_upstream_toml
check "it is healthy after all this" healthy
ends

begins course
check "the container is healthy by its own HEALTHCHECK" within 60 healthy
check "the three applications take turns" within 60 all_three_take_turns
check "thirty requests go 1, 2, 3, 1, …" thirty_in_order
costs_no_get "a stopped application leaves the rotation, by traffic alone" stop_leaves
costs_no_get "started again, it returns" start_returns
ends

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
