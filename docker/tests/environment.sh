#!/usr/bin/env bash
# docker/environment: compose, shell, .env and Dockerfile, on their way into ${…} of upstream.toml.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

secret=correct-horse-battery-staple
field() { curl -sf --max-time 10 -D - -o /dev/null "$url" | tr -d '\r' | tee /dev/stderr | grep -qix "$1: $2"; }
# weir with other values, for one `check`, refuses them: refuses TEXT [ARGUMENT of docker run...]
refuses() {
  local text=$1 code=0
  shift
  docker run --rm -v "$work/alb:/etc/weir:ro" "$@" weir_environment check >"$work/refusal" 2>&1 || code=$?
  cat "$work/refusal"
  [ "$code" = 1 ] && grep -F "$text" "$work/refusal" && grep -E 'upstream.toml:[0-9]+:[0-9]+' "$work/refusal"
}
without_dotenv() {
  mv "$work/alb/.env" "$work/kept"
  refuses "the environment variable \`APP\` is not set" -e GREETING=x && mv "$work/kept" "$work/alb/.env"
}
says_no_secret() { ! { log; docker exec "$(weir)" /weir check; cat "$work"/refusal; } 2>&1 | grep -F "$secret"; }
# A mistake in the very value, and in the line beside it: what is printed is the file, and not what was filled in.
broken_beside_the_secret() {
  sed 's/^token = .*/&\ntoke = "x"/' "$upstream_toml" >"$work/new"
  use "$work/new"
  within 10 said 'unknown setting `toke`' && says_no_secret
}

unset GREETING
export WEIR_ADMIN_TOKEN=$secret
begins environment/compose.yaml
listen
check "it answers" within 60 answers
check "environment: in compose wins over env_file, Dockerfile and weir's .env" field X-Colour from-compose
check "env_file wins over the Dockerfile" field X-Weight from-env-file
check "the Dockerfile wins over weir's .env" field X-Shape from-dockerfile
check "weir's .env wins over the default in upstream.toml" field X-Size from-weirs-dotenv
check "what nobody set has its default" field X-Taste from-upstream-toml
check '${GREETING} in compose.yaml comes from .env beside it' field X-Greeting from-dotenv
GREETING=from-the-shell compose up -d >"$work/up" 2>&1 || fails "up" "$work/up"
check "… unless the shell has one" within 30 field X-Greeting from-the-shell
check "one that is missing is refused with file, line, column and its name" without_dotenv
check "one that makes no sense is refused in the place where it is used" refuses "what comes from the environment here is something else" -e APP=pyfla_app:not-a-port -e GREETING=x
check "the secret from the shell is in no print and no log" says_no_secret
listen
check "… not even with a mistake in the next line" broken_beside_the_secret
ends
