#!/usr/bin/env bash
# Do the containers keep their promises? Every system of this folder on a real engine, a line per check; the first check that fails
# ends it, with the logs. Needs docker, docker-compose (or Compose v2), curl, python3, the ports 5001-5003 and 8080-8082, and the
# base images (docker/ci/base-images.sh). Containers, networks and volumes that it made are gone afterwards; images stay.
# usage: docker/test.sh [--no-build] [SYSTEM ...]      (default: all; --no-build takes the image `weir` as it is)
set -euo pipefail
cd "$(dirname "$0")"

all=(image alb course health numbers counter environment stack scale faults rolling labels swarm)
build=yes
if [ "${1:-}" = --no-build ]; then build=''; shift; fi
[ $# -gt 0 ] || set -- "${all[@]}"

if [ -n "$build" ]; then
  echo "--- docker build -f docker/Dockerfile -t weir ."
  docker build -q -f Dockerfile -t weir .. >/dev/null
  echo "built in ${SECONDS}s"
fi
for system in "$@"; do
  began=$SECONDS
  bash "tests/$system.sh"
  echo "    $((SECONDS - began))s"
done
echo "all passed after ${SECONDS}s"
