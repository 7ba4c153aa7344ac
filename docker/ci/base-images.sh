#!/usr/bin/env bash
# Makes sure that the base images named in this folder's Dockerfiles and compose files are there: an image the engine has
# is kept, one a registry answers for is pulled, and otherwise a stand-in is built from Debian's own packages and the
# host's Rust. The files stay as one writes them in the world. A stand-in needs root, Debian's packages and, for rust, rustc.
# usage: base-images.sh [debian|python|rust|redis|httpd|postgres|mariadb|wordpress ...]      (default: python rust)
#        WEIR_STAND_INS=always base-images.sh …       builds stand-ins even where the image exists
set -euo pipefail

declare -A image=(
  [debian]=debian:bookworm-slim [python]=python:3-slim [rust]=rust:1-slim-bookworm
  [redis]=redis:7 [httpd]=httpd:2.4 [postgres]=postgres:17 [mariadb]=mariadb:11 [wordpress]=wordpress:6
)
# Those whose stand-ins share one root, with the packages of all and the start scripts of ci/stand-ins.
services=(redis httpd postgres mariadb wordpress)
stand_ins=$(cd "$(dirname "$0")" && pwd)/stand-ins

present() { docker image inspect "$1" >/dev/null 2>&1; }
pulled() { timeout 180 docker pull -q "$1" >/dev/null 2>&1; }

missing=()
for name in "${@:-python rust}"; do
  for one in $name; do
    [ -n "${image[$one]:-}" ] || { echo "base-images.sh: no such image: $one (${!image[*]})" >&2; exit 2; }
    if [ "${WEIR_STAND_INS:-}" != always ] && { present "${image[$one]}" || pulled "${image[$one]}"; }; then
      echo "have ${image[$one]}"
    else
      missing+=("$one")
    fi
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0
wanted() { printf '%s\n' "${missing[@]}" | grep -qx "$1"; }

command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap >/dev/null; }
mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n1 | tr -d ' ' || true)
[ -n "$mirror" ] || mirror=$(apt-cache policy | grep -oE 'https?://[^ ]+/debian( |$)' | head -n1 | tr -d ' ' || true)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

in_root() { chroot "$root" /usr/bin/env DEBIAN_FRONTEND=noninteractive "$@"; }
install_in_root() {
  in_root apt-get update -qq
  in_root apt-get install -y -qq --no-install-recommends "$@" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}
# Certificates are named explicitly, since the host's bundle may hold more than the packages know of.
bundle=/etc/ssl/certs/ca-certificates.crt
import() {
  local tag=$1
  shift
  tar -C "$root" -c . |
    docker import -c "ENV SSL_CERT_FILE=$bundle" -c "ENV PIP_CERT=$bundle" -c "ENV CURL_CA_BUNDLE=$bundle" "$@" - "$tag" >/dev/null
  echo "built a stand-in for $tag in ${SECONDS}s"
}

debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
# Debian's sources, apt's settings and the certificates of the host, so that apt, pip and cargo work within a build.
for sources in /etc/apt/sources.list.d/*.sources; do
  grep -q '/debian *$' "$sources" 2>/dev/null || continue
  cp -a "$sources" "$root/etc/apt/sources.list.d/" && rm -f "$root/etc/apt/sources.list"
done
cp -a /etc/apt/apt.conf.d/99* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp -L "$bundle" "$root$bundle"
# As in Debian's own slim images: no manuals, no translations, and no waiting for the disk.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/docker"
printf 'path-exclude /usr/share/%s/*\n' man locale info >>"$root/etc/dpkg/dpkg.cfg.d/docker"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{man,locale,info}/*

if wanted debian; then import debian:bookworm-slim -c 'CMD ["bash"]'; fi
if wanted python; then
  install_in_root python3 python3-pip python3-venv
  # In python's own image pip installs for everybody, and the interpreter is called python.
  rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
  ln -sf python3 "$root/usr/bin/python"
  import python:3-slim -c 'ENV PYTHONUNBUFFERED=1' -c 'CMD ["python3"]'
fi
if wanted rust; then
  install_in_root gcc libc6-dev
  mkdir -p "$root/usr/local/rust"
  tar -C "$(rustc --print sysroot)" --exclude=./share -c . | tar -C "$root/usr/local/rust" -x
  import rust:1-slim-bookworm -c 'ENV CARGO_HOME=/usr/local/cargo' \
    -c 'ENV PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD ["bash"]'
fi
service=
for one in "${services[@]}"; do if wanted "$one"; then service=yes; fi; done
if [ -n "$service" ]; then
  rm -rf "$root/usr/local/rust"
  # What starts by itself on a machine must not start here.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
  install_in_root redis-server apache2 postgresql mariadb-server wordpress libapache2-mod-php php-mysql
  cp "$stand_ins"/{postgres-start,mariadb-start,wordpress-start,healthcheck.sh} "$root/usr/local/bin/"
  cp "$stand_ins/apache.conf" "$root/etc/apache2/sites-enabled/001-stand-ins.conf"
  sed -i '/DocumentRoot/d' "$root/etc/apache2/sites-enabled/000-default.conf"
  # Clusters and tables are made by the containers, from their environment.
  rm -rf "$root"/var/lib/postgresql/* "$root"/var/lib/mysql "$root"/var/www/html/*
  mkdir -p "$root"/var/lib/postgresql/data "$root"/var/lib/mysql "$root"/run/mysqld "$root"/data "$root"/usr/local/apache2/htdocs
  echo '<html><body><h1>It works!</h1></body></html>' >"$root/usr/local/apache2/htdocs/index.html"
  in_root cp -rL /usr/share/wordpress/. /var/www/html
  cp "$stand_ins/wp-config.php" "$root/var/www/html/"
  in_root chown -R www-data:www-data /var/www/html
  in_root chown postgres:postgres /var/lib/postgresql/data
  in_root chown mysql:mysql /var/lib/mysql /run/mysqld
  in_root chown redis:redis /data
  import weir-stand-ins

  # All packages in one layer, and five images that differ in what they start: no more to copy for any of them.
  path=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  declare -A starts=(
    [redis]='["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"]'
    [httpd]='["apachectl", "-D", "FOREGROUND", "-D", "Httpd"]'
    [postgres]='["postgres-start"]' [mariadb]='["mariadb-start"]' [wordpress]='["wordpress-start"]'
  )
  declare -A as=([redis]=redis [httpd]=root [postgres]=postgres [mariadb]=mysql [wordpress]=root)
  declare -A stopped_by=([redis]=SIGTERM [httpd]=SIGWINCH [postgres]=SIGINT [mariadb]=SIGTERM [wordpress]=SIGWINCH)
  for one in "${services[@]}"; do
    if wanted "$one"; then
      container=$(docker create --stop-signal "${stopped_by[$one]}" weir-stand-ins true)
      docker commit -c "ENV PGDATA=/var/lib/postgresql/data PATH=$path" -c "WORKDIR /data" -c "USER ${as[$one]}" \
        -c "CMD ${starts[$one]}" "$container" "${image[$one]}" >/dev/null
      docker rm "$container" >/dev/null
      echo "built a stand-in for ${image[$one]} in ${SECONDS}s"
    fi
  done
  docker rmi weir-stand-ins >/dev/null
fi
