#!/usr/bin/env bash
# docker/compose.yaml: three applications, everything that may happen to them, and every file of alb/ready.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

stop_leaves() { docker stop -t 2 pyfla_app2 && within 20 answered_by 13; }
start_returns() { docker start pyfla_app2 && within 30 answered_by 123; }
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

accepts_the_mounted_configuration() { docker exec nginx_alb /weir check; }

replace_upstream_toml() {
  sed "$1" "$upstream_toml" >"$work/new"
  use "$work/new"
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
refuse_and_say_so() { misspell && first_has_more && same_process && weir_is_healthy; }
restore_in_two_seconds() { restore && within 2 all_three_take_turns && same_process; }
change_upstream_toml() {
  give_the_first_more && within 10 first_has_most && misspell && restore && within 10 first_has_no_more && same_process
}
firsts_of_thirty() { turns 30 | tr -cd 1 | wc -c; }
first_has_most() { [ "$(firsts_of_thirty)" -ge 14 ]; }
first_has_no_more() { [ "$(firsts_of_thirty)" -lt 14 ]; }

# ready FILE COMMAND...: copied over upstream.toml while requests come, it shows within a few seconds what its comment says.
ready() {
  local file=$1
  shift
  listen
  use "alb/ready/$file.toml"
  within 10 said "is in force" && within 10 "$@" && same_process
}
one_answers_all() { turns_match 6 '1{6}|2{6}|3{6}'; }
all_answer() { answered_by 123; }

begins compose.yaml
remember_process
check "the container is healthy by its own HEALTHCHECK" within 60 weir_is_healthy
check "the three applications take turns" within 60 all_three_take_turns
check "thirty requests go 1, 2, 3, 1, …" thirty_in_order
check "each application is published: 5001 to 5003" eval 'for n in 1 2 3; do shows "[$n]" localhost:500$n; done'
check "the mounted configuration is good" accepts_the_mounted_configuration
listen
costs_no_get "a stopped application leaves the rotation" stop_leaves
check "… which the log says" said pyfla_app2
costs_no_get "started again, it returns" start_returns
costs_no_get "applications that exchanged their addresses both return" swap_addresses
check "an edited upstream.toml takes effect within two seconds" weigh_in_two_seconds
listen
check "a broken edit changes nothing and is logged" refuse_and_say_so
check "the repaired file takes effect within two seconds" restore_in_two_seconds
check "thirty requests go 1, 2, 3, 1, … as before" thirty_in_order
listen
costs_no_get "three edits" change_upstream_toml

check "ready/weights.toml: the first gets three of five" ready weights first_has_more
check "ready/backup.toml: the third gets nothing while the others can" ready backup turns_match 6 '121212|212121'
check "ready/ip_hash.toml: one client, one application" ready ip_hash one_answers_all
check "ready/hash.toml: one application for everything at /" ready hash one_answers_all
check "ready/hash_consistent.toml: one application for everything at /" ready hash_consistent one_answers_all
check "ready/least_conn.toml: with nothing in flight they take turns" ready least_conn all_three_take_turns
for file in least_time least_time_last_byte random random_two slow_start max_conns; do
  check "ready/$file.toml: all three answer" ready "$file" all_answer
done
check "ready/gateway.toml: by 172.17.0.1 and their published ports" ready gateway all_three_take_turns
check "ready/host_gateway.toml: by host.docker.internal" ready host_gateway all_three_take_turns
check "ready/round_robin.toml: 1, 2, 3, 1, …" ready round_robin all_three_take_turns
check "it is healthy after all this" weir_is_healthy
ends
