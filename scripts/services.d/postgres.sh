# PostgreSQL, from Debian's packages. Sourced by scripts/services.

postgres_note=$state/postgres

# PostgreSQL refuses to run as root, so root runs it as somebody else.
as_owner() {
  if [ "$(id -u)" != 0 ]; then
    "$@"
  elif id postgres >/dev/null 2>&1; then
    runuser -u postgres -- "$@"
  else
    runuser -u nobody -- "$@"
  fi
}

find_postgres() {
  pg_bin=
  local candidate
  for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V); do
    if [ -x "$candidate/initdb" ]; then pg_bin=$candidate; fi
  done
  [ -n "$pg_bin" ]
}

# Sets pg_folder, pg_port and pg_bin to what is running; fails when nothing is.
read_postgres_note() {
  [ -f "$postgres_note" ] || return 1
  { read -r pg_bin && read -r pg_port && read -r pg_folder; } <"$postgres_note"
}

postgres_is_running() {
  read_postgres_note && as_owner "$pg_bin/pg_isready" -q -h 127.0.0.1 -p "$pg_port" -t 5
}

postgres_show() {
  local url="postgres://postgres@127.0.0.1:$pg_port/postgres"
  printf 'export ConnectionStrings__DefaultConnection=%s\nexport FINTECH_TEST_POSTGRES=%s\n' "$url" "$url"
}

postgres_up() {
  if ! find_postgres; then
    install PostgreSQL postgresql
    find_postgres || fail "apt-get installed PostgreSQL, but there is no /usr/lib/postgresql/*/bin/initdb"
  fi
  # Outside the clone, which the owner of the server may not be allowed to enter.
  pg_folder=$(as_owner mktemp -d /tmp/fintech-postgres.XXXXXX)
  (cd / && as_owner "$pg_bin/initdb" -D "$pg_folder/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8) \
    </dev/null >"$state/initdb.log" 2>&1 || fail "initdb failed: $(tail -n 3 "$state/initdb.log")"
  # Another program may take the port between the look and the start.
  for _ in 1 2 3 4 5; do
    pg_port=$(free_port)
    if (cd / && as_owner "$pg_bin/pg_ctl" -D "$pg_folder/data" -l "$pg_folder/log" -w -t 60 \
      -o "-p $pg_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$pg_folder -c max_connections=300" \
      start) </dev/null >/dev/null 2>&1; then
      printf '%s\n' "$pg_bin" "$pg_port" "$pg_folder" >"$postgres_note"
      return
    fi
  done
  fail "PostgreSQL does not start: $(as_owner tail -n 5 "$pg_folder/log" 2>&1)"
}

postgres_down() {
  if read_postgres_note; then
    (cd / && as_owner "$pg_bin/pg_ctl" -D "$pg_folder/data" -m immediate -w stop) >/dev/null 2>&1 || true
    case $pg_folder in /tmp/fintech-postgres.*) rm -rf "$pg_folder" ;; esac
    rm -f "$postgres_note"
  fi
}
