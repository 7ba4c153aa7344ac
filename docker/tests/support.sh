# What the tests of docker/tests share; sourced. Each test is one system: begins FILE, checks, ends.
# A check prints a line. The first one that fails ends the test, with its output and what weir had to say.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

url=http://localhost:8080/
work=$(mktemp -d)
system=$(basename "$0" .sh)
compose_file='' passed=0 load=''

compose() {
  local files=(-f "$compose_file") file
  for file in "$work"/*.override.yaml; do [ ! -e "$file" ] || files+=(-f "$file"); done
  if command -v docker-compose >/dev/null; then docker-compose -p "weir_$system" "${files[@]}" "$@"
  else docker compose -p "weir_$system" "${files[@]}" "$@"; fi
}
# container SERVICE [N]: the id of its N-th container, whatever its name.
container() { compose ps -q "$1" 2>/dev/null | sed -n "${2:-1}p"; }
weir() { container nginx_alb; }
log() { docker logs "$(weir)" 2>&1; }

# Of this test alone: its load, its containers, networks and volumes. Images stay for the next time.
clean_up() {
  local code=$?
  trap - EXIT
  [ -z "$load" ] || load_ends
  if [ -n "$compose_file" ]; then
    compose unpause >/dev/null 2>&1 || true
    compose down -v -t 1 --remove-orphans >/dev/null 2>&1 || true
  fi
  if declare -F clean_up_more >/dev/null; then clean_up_more; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT

# begins FILE [ARGUMENT...]: `docker-compose up` with a copy of the mounted folder alb/, which the test may edit.
begins() {
  compose_file=$1
  shift
  local folder
  folder=$(dirname "$compose_file")
  if [ -e "$folder/alb/upstream.toml" ]; then
    cp -r "$folder/alb" "$work/alb"
    chmod -R a+rX "$work" "$work/alb"
    upstream_toml=$work/alb/upstream.toml
    printf 'services:\n  nginx_alb:\n    volumes:\n      - %s:/etc/weir:ro\n' "$work/alb" >"$work/alb.override.yaml"
  fi
  echo "--- $system: docker-compose -f docker/$compose_file up -d $*"
  # The applications alone: weir's image has been built by docker/test.sh.
  mapfile -t applications < <(compose config --services 2>/dev/null | grep -v '^nginx_alb$')
  compose build "${applications[@]}" >"$work/up" 2>&1 || fails "the images are built" "$work/up"
  compose up -d "$@" >"$work/up" 2>&1 || fails "up" "$work/up"
}
ends() {
  check "a stop ends weir with exit code 0" stops_cleanly
  check "nothing in it panicked" never_panicked
  compose down -v -t 1 --remove-orphans >"$work/down" 2>&1 || fails "down" "$work/down"
  compose_file=
  echo "--- $system: $passed passed"
}
stops_cleanly() {
  local id
  id=$(weir)
  docker stop -t 40 "$id" && [ "$(docker inspect -f '{{.State.ExitCode}}' "$id")" = 0 ]
}
never_panicked() { ! log | grep -A5 panicked; }

# fails CLAIM FILE: says what it knows, and ends the test.
fails() {
  echo "FAIL  $system: $1"
  tail -n 30 "$2" | cut -c 1-300 | sed 's/^/      /'
  if [ -n "$compose_file" ]; then
    compose ps 2>/dev/null | sed 's/^/  ps: /' || true
    docker logs "$(weir)" 2>&1 >/dev/null | tail -n 60 | sed 's/^/  weir: /' || true
    docker logs --tail 10 "$(weir)" 2>/dev/null | cut -c 1-300 | sed 's/^/  requests: /' || true
  fi
  exit 1
}
# check CLAIM COMMAND...: one line; the command's output only if it fails.
check() {
  local claim=$1 began=$SECONDS
  shift
  if "$@" >"$work/output" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $system: $claim ($((SECONDS - began))s)"
  else
    fails "$claim ($((SECONDS - began))s)" "$work/output"
  fi
}

milliseconds() { date +%s%3N; }
# within SECONDS COMMAND...: until it succeeds; the last output counts.
within() {
  local limit=$(($1 * 1000)) began
  shift
  began=$(milliseconds)
  until "$@"; do
    [ $(($(milliseconds) - began)) -lt "$limit" ] || return 1
    sleep 0.1
  done
}

health_of() { docker inspect -f '{{.State.Health.Status}}' "$1"; }
is_healthy() { [ "$(health_of "$1")" = healthy ]; }
weir_is_healthy() { is_healthy "$(weir)"; }
answers() { curl -sf --max-time 10 -o /dev/null "${1:-$url}"; }
# The page has what it should: shows TEXT [URL]
shows() { curl -s --max-time 10 "${2:-$url}" | tee /dev/stderr | grep -qF "$1"; }
status_of() { curl -s --max-time 20 -o /dev/null -w '%{http_code}' "${1:-$url}"; }

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

# load_begins [ARGUMENT of load.py...]: clients that send GETs until load_ends; a line each in $work/load.
load_begins() {
  rm -f "$work/stop" "$work/load"
  : >"$work/load"
  [ $# -gt 0 ] || set -- "$url"
  python3 tests/load.py "$@" --until "$work/stop" --lines "$work/load" &
  load=$!
}
load_goes_on() { within 60 load_reaches $(($(wc -l <"$work/load") + $1)); }
load_reaches() { [ "$(wc -l <"$work/load")" -ge "$1" ]; }
load_ends() {
  touch "$work/stop"
  wait "$load" || true
  load=
}
load_failed() { awk '$2 != 200' "$work/load" | wc -l; }
load_slowest() { awk '$3 > most { most = $3 } END { printf "%.1f", most }' "$work/load"; }
load_had_no_failure() {
  echo "$(wc -l <"$work/load") requests, $(load_failed) failed, the slowest took $(load_slowest)s" | tee "$work/summary"
  awk '$2 != 200' "$work/load" | head -n 5
  [ "$(load_failed)" -eq 0 ] && load_reaches 20
}
summary() { sed 's/^/      /' "$work/summary"; }
# costs_no_get CLAIM COMMAND...: under load; the command ends when what it does has had its effect.
costs_no_get() {
  local claim=$1
  shift
  load_begins "$url" --pause 0.01
  load_goes_on 10
  check "$claim" "$@"
  load_goes_on 10
  load_ends
  check "… and cost no GET" load_had_no_failure
  summary
}

# The program log, on stderr, since the last `listen`; the access log is on stdout.
listen() { since=$(date +%s.%N); }
said() { docker logs --since "$since" "$(weir)" 2>&1 >/dev/null | grep -F "$1"; }
# Milliseconds since 1970 of the first line of weir's log that matches, no earlier than $1 ms: logged_at FROM REGEX
logged_at() {
  local stamp rest
  while read -r stamp rest; do
    if grep -qE "$2" <<<"$rest" && [ "$(date -d "$stamp" +%s%3N)" -ge "$1" ]; then
      date -d "$stamp" +%s%3N
      return
    fi
  done < <(docker logs -t --since "$(($1 / 1000))" "$(weir)" 2>&1 >/dev/null)
  return 1
}

# Written beside it and moved over it, as editors do.
use() {
  cp "$1" "$upstream_toml.new"
  chmod a+r "$upstream_toml.new"
  mv "$upstream_toml.new" "$upstream_toml"
}
same_process() { [ "$(docker inspect -f '{{.State.Pid}} {{.RestartCount}}' "$(weir)")" = "$process" ]; }
remember_process() { process=$(docker inspect -f '{{.State.Pid}} {{.RestartCount}}' "$(weir)"); }
