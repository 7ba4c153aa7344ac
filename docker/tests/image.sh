#!/usr/bin/env bash
# The image that docker/Dockerfile makes, and what docker/compose.yaml takes away from it.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

small() {
  local bytes
  bytes=$(docker image inspect -f '{{.Size}}' weir)
  echo "$bytes bytes" | tee "$work/summary"
  [ "$bytes" -lt 20000000 ]
}
non_root() {
  local uid
  uid=$(ps -o uid= -p "$(docker inspect -f '{{.State.Pid}}' nginx_alb)" | tr -d ' ')
  echo "runs as $uid"
  [ "$uid" = 65532 ]
}
without_capabilities() { grep -E '^Cap(Prm|Eff|Bnd):' "/proc/$(docker inspect -f '{{.State.Pid}}' nginx_alb)/status" | tee /dev/stderr | grep -cvq '[1-9a-f]$'; }
root_cannot_be_written() { [ "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' nginx_alb)" = true ]; }
label() { docker image inspect -f "{{index .Config.Labels \"org.opencontainers.image.$1\"}}" weir; }
# The label's version is that of the binary in it.
labelled() {
  local name
  for name in title description licenses revision version; do [ -n "$(label "$name")" ] || { echo "no label $name"; return 1; }; done
  [ "weir $(label version)" = "$(docker run --rm weir --version)" ]
}
# Docker itself adds /dev, /proc, /sys and the files of name resolution.
nothing_but_weir() {
  local files
  files=$(docker export nginx_alb | tar -t | grep -vE '/$|^(dev|proc|sys)/|^etc/(hosts|hostname|resolv.conf|mtab)$|^\.dockerenv$' | sort | tr '\n' ' ')
  echo "holds $files"
  [ "$files" = "etc/weir/upstream.toml weir " ] || [ "$files" = "weir " ]
}
# The container's own address, without Docker's proxy in between. Nobody is behind it, so it answers 503: but it answers.
answers_itself() { [ "$(status_of "http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' weir_image_start)/")" = 503 ]; }
starts_at_once() {
  local began
  docker create --name weir_image_start weir || return 1
  began=$(milliseconds)
  docker start weir_image_start && within 10 answers_itself || return 1
  echo "$(($(milliseconds) - began)) ms from docker start to the first answer" | tee "$work/summary"
}
clean_up_more() { docker rm -f weir_image_start >/dev/null 2>&1 || true; }
# Run where there is nothing but the binary: the quickest of ten, for the machine may be busy.
healthcheck_is_quick() {
  local n began took best=
  mkdir "$work/empty" && docker cp nginx_alb:/weir "$work/empty/weir" || return 1
  for ((n = 0; n < 10; n++)); do
    began=$(milliseconds)
    chroot "$work/empty" /weir healthcheck http://127.0.0.1:8080/ || return 1
    took=$(($(milliseconds) - began))
    if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
  done
  echo "$best ms from its start to its end" | tee "$work/summary"
  [ "$best" -lt 250 ]
}
accepts_its_own_configuration() { docker run --rm weir check; }

begins compose.yaml
check "the container is healthy by its own HEALTHCHECK" within 60 weir_is_healthy
check "the image is smaller than 20 MB" small
summary
check "the image says what it is (OCI labels)" labelled
check "weir runs as 65532" non_root
check "… without any capability" without_capabilities
check "… on a root that cannot be written" root_cannot_be_written
check "the image holds weir, its configuration and nothing else" nothing_but_weir
check "the image's own configuration is good" accepts_its_own_configuration
check "a container answers soon after its start" starts_at_once
summary
check "weir healthcheck needs nothing but itself, and milliseconds" healthcheck_is_quick
summary
ends
