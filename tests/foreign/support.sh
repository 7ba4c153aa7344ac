# What the scripts of tests/foreign share; sourced, with weir's path as the first argument, or none: target/debug/weir.
# A check prints a line. The first one that fails ends the script, with weir's log; so does everything that was started.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
weir=$(realpath "${1:-target/debug/weir}")
program=$(basename "$0" .sh)
folder=$(mktemp -d)
processes=()
finish() {
  local code=$?
  [ "$code" = 0 ] || { echo "--- weir's log"; cat "$folder/weir.log" 2>/dev/null || true; }
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$folder"
  exit "$code"
}
trap finish EXIT

# start_weir URL...: weir with $folder/upstream.toml; waits until it listens on all that begin so.
start_weir() {
  "$weir" run -c "$folder/upstream.toml" >"$folder/access.log" 2>"$folder/weir.log" &
  processes+=($!)
  for url in "$@"; do
    timeout 20 sh -c "until grep -q 'listening on $url' '$folder/weir.log' 2>/dev/null; do sleep 0.1; done"
  done
}
# port_of URL: where weir listens, of what begins so.
port_of() { sed -n "s|.*listening on $1:\([0-9]*\).*|\1|p" "$folder/weir.log"; }

# check WHAT EXPECTED GOT
check() { if [ "$2" = "$3" ]; then echo "$program: $1"; else echo "$program: $1: '$2' was expected, not '$3'"; exit 1; fi; }
