#!/usr/bin/env bash
# docker/stack: httpd in three replicas, notes in PostgreSQL, two WordPress replicas in front of MariaDB.
# shellcheck source=support.sh
. "$(dirname "$0")/support.sh"

notes=http://localhost:8081/
blog=http://localhost:8082
# Which addresses answered the last requests to a group, by weir's access log? answered_for N PORT
addresses() { docker logs --tail "$1" "$(weir)" 2>/dev/null | grep -o 'ua="[0-9.]*:80"' | sort -u | wc -l; }
three_httpds() {
  for _ in 1 2 3 4 5 6; do curl -sf --max-time 10 -o "$work/body" "$url" && grep -q "one of three" "$work/body" || return 1; done
  within 5 eval '[ "$(addresses 6)" -eq 3 ]'
}
notes_waited() {
  local database application
  database=$(docker inspect -f '{{.State.StartedAt}}' "$(container postgres)")
  application=$(docker inspect -f '{{.State.StartedAt}}' "$(container notes)")
  echo "postgres started at $database, notes at $application"
  is_healthy "$(container postgres)" && [[ $application > $database ]] && [ "$(docker inspect -f '{{.RestartCount}}' "$(container notes)")" = 0 ]
}
takes_a_note() { [ "$(curl -s --max-time 10 -o /dev/null -w '%{http_code}' -d 'remember the milk' "$notes")" = 201 ] && shows "remember the milk" "$notes"; }
restarts_postgres() { compose restart -t 5 postgres && within 60 is_healthy "$(container postgres)" && within 20 shows "remember the milk" "$notes"; }

# What a visitor does in the browser, with curl and its cookies.
wordpress_is_there() { [[ $(status_of "$blog/wp-admin/install.php") = 200 ]]; }
installs_wordpress() {
  curl -s --max-time 60 -o "$work/body" -d 'weblog_title=Blog&user_name=student&admin_password=a-long-passphrase-1&admin_password2=a-long-passphrase-1&admin_email=student%40example.com&Submit=Install' \
    "$blog/wp-admin/install.php?step=2" && grep -qi success "$work/body"
}
logs_in() {
  rm -f "$work/cookies"
  curl -s --max-time 30 -c "$work/cookies" -o /dev/null "$blog/wp-login.php"
  curl -s --max-time 30 -b "$work/cookies" -c "$work/cookies" -o /dev/null -w '%{http_code}\n' \
    -d 'log=student&pwd=a-long-passphrase-1&testcookie=1' "$blog/wp-login.php" | tee /dev/stderr | grep -qx 302
}
# Ten visits to a page that only somebody logged in may see: how many were let in?
let_in() {
  local n seen=''
  for ((n = 0; n < 10; n++)); do seen+="$(curl -s --max-time 30 -b "$work/cookies" -o /dev/null -w '%{http_code}' "$blog/wp-admin/profile.php") "; done
  echo "$seen" | tee "$work/summary"
  [ "$(grep -o 200 <<<"$seen" | wc -l)" -eq 10 ]
}
# Without the cookie of weir alternate replicas are asked, and only one knows the login.
lost_without_its_cookie() {
  sed -i '/\tsrv_id\t/d' "$work/cookies"
  ! let_in
}
not_from_the_front() { ! docker exec "$(container httpd)" bash -c 'exec 3<>/dev/tcp/mariadb/3306' 2>&1; }

begins stack/compose.yaml --scale httpd=3 --scale wordpress=2
check "three httpd take turns" within 60 three_httpds
check "the notes started after PostgreSQL was healthy, once" within 60 notes_waited
check "weir waited for the notes, and a note is kept" within 60 takes_a_note
check "a restart of PostgreSQL loses no note" restarts_postgres
check "WordPress is there" within 120 wordpress_is_there
check "WordPress can be installed through weir" installs_wordpress
check "somebody logs in" logs_in
check "and stays logged in, though each replica has keys of its own" let_in
check "… which is the doing of weir's cookie" lost_without_its_cookie
check "MariaDB is out of reach for those on the front network" not_from_the_front
ends
