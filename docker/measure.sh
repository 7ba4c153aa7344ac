#!/usr/bin/env bash
# How large is the image, how long until the first answer, and how much memory then? weir beside nginx, as docs/containers.md has it.
# nginx is Debian's, on debian:bookworm-slim: close to what its own image is, which is not everywhere at hand.
# Needs the image `weir`. Each number is the median of 11 runs.
set -euo pipefail
work=$(mktemp -d)
trap 'docker rm -f weir_measure >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

docker build -q -t nginx_on_debian - >/dev/null <<'END'
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light >/dev/null && rm -rf /var/lib/apt/lists/*
CMD ["nginx", "-g", "daemon off;"]
END
# Both answer by themselves: weir has nobody behind it and says 503, nginx has its first page.
median() { sort -n | sed -n 6p; }
milliseconds() { date +%s%3N; }
# measure IMAGE: from `docker run`, and from the start of the process, until the first answer.
measure() {
  local image=$1 round began started answered at
  : >"$work/run" && : >"$work/process"
  for ((round = 0; round < 11; round++)); do
    docker create --name weir_measure -p 8089:80 "$image" >/dev/null
    began=$(milliseconds)
    docker start weir_measure >/dev/null
    # By the container's own address, without Docker's proxy in between.
    at=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' weir_measure)
    until curl -s -o "$work/body" --max-time 1 "http://$at/"; do :; done
    answered=$(milliseconds)
    started=$(date -d "$(docker inspect -f '{{.State.StartedAt}}' weir_measure)" +%s%3N)
    echo $((answered - began)) >>"$work/run"
    echo $((answered - started)) >>"$work/process"
    docker stats --no-stream --format '{{.MemUsage}}' weir_measure | cut -d/ -f1 >"$work/memory"
    docker rm -f weir_measure >/dev/null
  done
  printf '%-16s %6.1f MB %14s ms %22s ms   %s\n' "$image" "$(docker image inspect -f '{{.Size}}' "$image" | awk '{ print $1 / 1e6 }')" \
    "$(median <"$work/run")" "$(median <"$work/process")" "$(cat "$work/memory")"
}
echo "image              size      docker start to answer   process to first answer   memory"
measure weir
measure nginx_on_debian
