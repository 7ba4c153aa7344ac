#!/bin/sh
# healthcheck.sh --connect --innodb_initialized: does the server let somebody in over TCP?
exec mariadb --user=healthcheck --password=healthcheck --host=localhost --batch --execute 'SELECT 1' >/dev/null
