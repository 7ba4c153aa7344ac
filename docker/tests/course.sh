#!/usr/bin/env bash
# docker/course/compose.yaml: applications without /health, so that weir learns from the traffic alone.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

stop_leaves() { docker stop -t 2 pyfla_app2 && within 20 answered_by 13; }
start_returns() { docker start pyfla_app2 && within 30 answered_by 123; }

begins course/compose.yaml
check "the container is healthy by its own HEALTHCHECK" within 60 weir_is_healthy
check "the three applications take turns" within 60 all_three_take_turns
check "thirty requests go 1, 2, 3, 1, …" thirty_in_order
costs_no_get "a stopped application leaves the rotation, by traffic alone" stop_leaves
costs_no_get "started again, it returns" start_returns
ends
