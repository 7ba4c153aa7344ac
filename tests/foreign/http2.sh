#!/usr/bin/env bash
# Do other people's clients of HTTP/2 and TLS get through weir, and do their servers? curl, nghttp, h2load and
# openssl s_client before it; Python's http.server and nghttpd behind it.
# Needs curl, openssl, python3, nghttp2-client and nghttp2-server. `tests/foreign/http2.sh [WEIR]`.
# shellcheck source=support.sh
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# --- certificates: one.test and two.test of one authority, a client's of another, a client's of none that counts
mkdir "$folder/documents"
# authority NAME; pair NAME AUTHORITY
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 60 -subj "/CN=$1" \
    -keyout "$folder/$1.key" -out "$folder/$1.pem" 2>/dev/null
}
pair() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
    -keyout "$folder/$1.key" -out "$folder/$1.csr" 2>/dev/null
  openssl x509 -req -days 30 -in "$folder/$1.csr" -CA "$folder/$2.pem" -CAkey "$folder/$2.key" -CAcreateserial \
    -extfile <(echo "subjectAltName = DNS:$1") -out "$folder/$1.pem" 2>/dev/null
}
authority servers
authority clients
authority strangers
for host in one.test two.test behind.test; do pair "$host" servers; done
pair client clients
pair stranger strangers

# --- behind weir
python3 tests/foreign/backend.py >"$folder/backend.port" 2>"$folder/backend.log" &
processes+=($!)
timeout 20 sh -c "until [ -s '$folder/backend.port' ]; do sleep 0.1; done"
head -c 3000000 /dev/urandom >"$folder/documents/large"
echo "of nghttpd" >"$folder/documents/small"
# An address of its own: nobody else's ports are in the way.
nghttpd=127.62.$((RANDOM % 250 + 1)).1
nghttpd --address="$nghttpd" --no-tls -d "$folder/documents" --echo-upload 8080 >"$folder/nghttpd.log" 2>&1 &
processes+=($!)
nghttpd --address="$nghttpd" -d "$folder/documents" 8443 "$folder/behind.test.key" "$folder/behind.test.pem" \
  >"$folder/nghttpd-tls.log" 2>&1 &
processes+=($!)
for port in 8080 8443; do timeout 20 bash -c "until true 2>/dev/null >/dev/tcp/$nghttpd/$port; do sleep 0.1; done"; done

# --- weir
locations() {
  cat <<TOML
[[server.location]]
path = "/"
proxy_pass = "http://application"
proxy_set_header = { X-Server = "$1", X-Protocol = "\$ssl_protocol", X-Reused = "\$ssl_session_reused", X-Client = "\$ssl_client_s_dn" }
[[server.location]]
path = "/nghttpd/"
proxy_pass = "h2c://nghttpd/"
[[server.location]]
path = "/nghttpd-tls/"
proxy_pass = "https://nghttpd-tls/"
proxy_http_version = "2"
TOML
}
cat >"$folder/upstream.toml" <<TOML
client_max_body_size = "8m"
keepalive_requests = 100000
[upstream.application]
servers = ["127.0.0.1:$(cat "$folder/backend.port")"]
keepalive = 64
[upstream.nghttpd]
servers = ["$nghttpd:8080"]
[upstream.nghttpd-tls]
servers = ["$nghttpd:8443"]
tls = { ca_file = "servers.pem", server_name = "behind.test" }
[[server]]
listen = { address = "127.0.0.1:0", tls = { certificate = "one.test.pem", key = "one.test.key" } }
server_name = "one.test"
$(locations one)
[[server]]
listen = { address = "127.0.0.1:0", tls = { certificate = "two.test.pem", key = "two.test.key" } }
server_name = "two.test"
$(locations two)
[[server]]
listen = { address = "127.0.0.2:0", tls = { certificate = "one.test.pem", key = "one.test.key", verify_client = "on", client_ca_file = "clients.pem" } }
$(locations verifying)
[[server]]
listen = { address = "127.0.0.3:0", h2c = true }
$(locations plain)
[[server]]
listen = { address = "127.0.0.4:0", tls = { certificate = "one.test.pem", key = "one.test.key" } }
keepalive_requests = 50
$(locations brief)
[admin]
listen = "off"
TOML
start_weir https://127.0.0.1 https://127.0.0.2 http://127.0.0.3 https://127.0.0.4
tls=$(port_of https://127.0.0.1) verifying=$(port_of https://127.0.0.2) plain=http://127.0.0.3:$(port_of http://127.0.0.3)
brief=$(port_of https://127.0.0.4)

# --- curl
request() {
  curl -sS --max-time 20 --cacert "$folder/servers.pem" --resolve "one.test:$tls:127.0.0.1" \
    --resolve "two.test:$tls:127.0.0.1" --resolve "one.test:$verifying:127.0.0.2" --resolve "one.test:$brief:127.0.0.4" "$@"
}
said() { request -o /dev/null -w '%{http_version} %{http_code}' "$@"; }
# field NAME: from the fields that the application was asked with
field() { sed -n "s/^$1: //p"; }
digest() { sha256sum | cut -d' ' -f1; }
large=$(digest <"$folder/documents/large")

check "curl --http2 over TLS" "2 200" "$(said --http2 "https://one.test:$tls/")"
check "curl --http1.1 over TLS" "1.1 200" "$(said --http1.1 "https://one.test:$tls/")"
check "curl --http2-prior-knowledge" "2 200" "$(said --http2-prior-knowledge "$plain/")"
check "curl asking for an upgrade to h2c stays at HTTP/1.1" "1.1 200" "$(said --http2 "$plain/")"
check "by name: the first server" one "$(request --http2 "https://one.test:$tls/" | field x-server)"
check "by name: the second one" two "$(request --http2 "https://two.test:$tls/" | field x-server)"
check "3 MB there and back over TLS" "$large" \
  "$(request --http2 --data-binary "@$folder/documents/large" "https://one.test:$tls/" | digest)"
check "3 MB of unknown length there and back in plain" "$large" \
  "$(request --http2-prior-knowledge -T - -X POST "$plain/" <"$folder/documents/large" | digest)"
check "twenty at once on one connection" "20 2 200 0" "$(
  for n in $(seq 20); do printf 'url=https://one.test:%s/%s\noutput=/dev/null\n' "$tls" "$n"; done |
    request --http2 --no-progress-meter --parallel --parallel-max 20 -w '%{http_version} %{http_code} %{exitcode}\n' -K - | sort | uniq -c | xargs)"
check "a connection that ends after fifty requests fails none" "500 2 200 0" "$(
  for n in $(seq 500); do printf 'url=https://one.test:%s/%s\noutput=/dev/null\n' "$brief" "$n"; done |
    request --http2 --no-progress-meter --parallel --parallel-max 20 -w '%{http_version} %{http_code} %{exitcode}\n' \
      -K - | sort | uniq -c | xargs)"
check "from nghttpd by h2c" "of nghttpd" "$(request --http2-prior-knowledge "$plain/nghttpd/small")"
check "from nghttpd by HTTP/2 over TLS" "of nghttpd" "$(request --http2 "https://one.test:$tls/nghttpd-tls/small")"
check "3 MB from nghttpd to HTTP/2" "$large" "$(request --http2 "https://one.test:$tls/nghttpd-tls/large" | digest)"
check "3 MB from nghttpd to HTTP/1.1" "$large" "$(request --http1.1 "$plain/nghttpd/large" | digest)"
check "3 MB to nghttpd and back" "$large" \
  "$(request --http2-prior-knowledge --data-binary "@$folder/documents/large" "$plain/nghttpd/" | digest)"
client=(--cert "$folder/client.pem" --key "$folder/client.key")
stranger=(--cert "$folder/stranger.pem" --key "$folder/stranger.key")
check "with a client certificate" "CN=client" \
  "$(request --http2 "${client[@]}" "https://one.test:$verifying/" | field x-client)"
check "without one" "2 400" "$(said --http2 "https://one.test:$verifying/")"
check "with that of a stranger" "2 400" "$(said --http2 "${stranger[@]}" "https://one.test:$verifying/")"

# --- nghttp and h2load
check "nghttp, fifty streams of one connection" 50 \
  "$(timeout 20 nghttp -nsy -m 50 "https://127.0.0.1:$tls/" | grep -c ' 200 ')"
check "nghttp, with padding, trailers and expecting 100" 200 "$(timeout 20 nghttp -nv -b 200 -d "$folder/documents/large" \
  --expect-continue --trailer 'x-digest: 1' "$plain/" | sed 's/\x1b\[[0-9;]*m//g' |
  sed -n 's/.*recv (stream_id=[0-9]*) :status: \([2-5]..\)$/\1/p')"
# load N ARGUMENT...: what came of N requests, and over which protocol
load() {
  local requests=$1
  shift
  timeout 60 h2load -n "$requests" "$@" >"$folder/h2load" 2>&1 || true
  grep -E '^(Application protocol|requests|status codes):' "$folder/h2load" | tr '\n' ' ' | sed 's/ $//'
}
# all N PROTOCOL: all of them are well
all() {
  echo "Application protocol: $2 requests: $1 total, $1 started, $1 done, $1 succeeded, 0 failed, 0 errored, 0 timeout" \
    "status codes: $1 2xx, 0 3xx, 0 4xx, 0 5xx"
}
check "h2load over TLS" "$(all 3000 h2)" "$(load 3000 -c 5 -m 20 "https://127.0.0.1:$tls/")"
check "h2load in plain, more streams than are allowed" "$(all 3000 h2c)" "$(load 3000 -c 2 -m 200 "$plain/")"
check "h2load through to nghttpd" "$(all 5000 h2c)" "$(load 5000 -c 5 -m 100 "$plain/nghttpd/small")"
check "h2load with small windows, bodies both ways" "$(all 300 h2)" \
  "$(head -c 100000 "$folder/documents/large" >"$folder/body"; load 300 -c 3 -m 10 -w 12 -W 14 -d "$folder/body" "https://127.0.0.1:$tls/")"
check "h2load by HTTP/1.1" "$(all 2000 http/1.1)" "$(load 2000 -c 5 --h1 "https://127.0.0.1:$tls/")"

# --- openssl s_client
# ask HOST ARGUMENT...: one request by HTTP/1.1, the connection seen to its end
ask() {
  local host=$1
  shift
  printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$host" |
    timeout 20 openssl s_client -connect "127.0.0.1:$tls" -CAfile "$folder/servers.pem" -servername "$host" \
      -verify_hostname "$host" -ign_eof "$@" 2>&1 | tr -d '\r' || true
}
# seen PATTERN: the first line like it
# As text, whatever the server has said in between: HTTP/2 begins with bytes of its own.
seen() { grep -a -m 1 -oE "$1" || true; }
for version in 1.2 1.3; do
  flag=-tls${version/./_}
  check "TLS $version" "New, TLSv$version" "$(ask one.test "$flag" -sess_out "$folder/session" | seen 'New, TLSv1\..')"
  check "TLS $version, the chain and the name verified" "Verify return code: 0 (ok)" \
    "$(ask one.test "$flag" -verify_return_error | seen '^ *Verify return code: .*' | xargs -0 | sed 's/^ *//')"
  check "TLS $version, what the application hears" "TLSv$version ." \
    "$(ask one.test "$flag" | sed -n 's/^x-\(protocol\|reused\): //p' | xargs)"
  ask one.test "$flag" -sess_in "$folder/session" >"$folder/again"
  check "TLS $version, the session resumed" "Reused, TLSv$version" "$(seen 'Reused, TLSv1\..' <"$folder/again")"
  check "TLS $version, and the application hears of it" r "$(field x-reused <"$folder/again")"
  check "TLS $version, ALPN h2" "ALPN protocol: h2" \
    "$(timeout 20 openssl s_client -connect "127.0.0.1:$tls" "$flag" -alpn h2,http/1.1 </dev/null 2>&1 | seen 'ALPN protocol: .*')"
  check "TLS $version, ALPN http/1.1" "ALPN protocol: http/1.1" "$(ask one.test "$flag" -alpn http/1.1 | seen 'ALPN protocol: .*')"
  for host in one.test two.test; do
    check "TLS $version, the certificate of $host" "subject=CN = $host" "$(ask "$host" "$flag" | seen '^subject=.*')"
  done
  check "TLS $version, a client certificate" CN=client "$(ask one.test "$flag" -connect "127.0.0.2:$verifying" \
    -cert "$folder/client.pem" -key "$folder/client.key" | field x-client)"
  check "TLS $version, no client certificate" "HTTP/1.1 400" \
    "$(ask one.test "$flag" -connect "127.0.0.2:$verifying" | seen '^HTTP/1.1 [0-9]*')"
done
# Which alert is rustls' affair: it misses what TLS 1.2 has a client say before it looks at the version.
check "TLS 1.1 refused, by an alert" "alert handshake failure" \
  "$(ask one.test -tls1_1 -cipher 'DEFAULT@SECLEVEL=0' | seen 'alert (handshake failure|protocol version)')"
