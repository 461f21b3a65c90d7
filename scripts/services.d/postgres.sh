# PostgreSQL, from Debian's packages. Sourced by scripts/services.
#
# With FINTECH_POSTGRES_DISK_MB its data lies on a disk of its own of that size, in memory, which `fill` makes full
# without harm to anybody else. That needs root, and the right to mount.

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
  if [ -n "${FINTECH_POSTGRES_DISK_MB:-}" ]; then postgres_mount "$FINTECH_POSTGRES_DISK_MB"; fi
  (cd / && as_owner "$pg_bin/initdb" -D "$pg_folder/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8) \
    </dev/null >"$state/initdb.log" 2>&1 || fail "initdb failed: $(tail -n 3 "$state/initdb.log")"
  # Another program may take the port between the look and the start.
  for _ in 1 2 3 4 5; do
    pg_port=$(free_port)
    if postgres_launch; then
      printf '%s\n' "$pg_bin" "$pg_port" "$pg_folder" >"$postgres_note"
      return
    fi
  done
  fail "PostgreSQL does not start: $(as_owner tail -n 5 "$pg_folder/log" 2>&1)"
}

postgres_ctl() {
  (cd / && as_owner "$pg_bin/pg_ctl" -D "$pg_folder/data" -l "$pg_folder/log" -w -t 60 "$@") </dev/null >/dev/null 2>&1
}

postgres_options() {
  echo "-p $pg_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$pg_folder -c max_connections=300"
}

postgres_launch() { postgres_ctl -o "$(postgres_options)" start; }

postgres_disk_is_own() { grep -qF " $pg_folder/data tmpfs " /proc/mounts; }

postgres_mount() {
  mkdir "$pg_folder/data"
  mount -t tmpfs -o "size=$1m,mode=0700,uid=$(stat -c %u "$pg_folder"),gid=$(stat -c %g "$pg_folder")" \
    tmpfs "$pg_folder/data" 2>/dev/null ||
    { rmdir "$pg_folder/data"; say "PostgreSQL gets no disk of its own: mounting one is not allowed here"; return 0; }
  echo "$1" >"$pg_folder/disk"
}

# As an outage is: the postmaster is killed, and the others find out.
postgres_stop() {
  read_postgres_note || fail "PostgreSQL is not running"
  local pid
  pid=$(as_owner head -n 1 "$pg_folder/data/postmaster.pid" 2>/dev/null) || return 0
  # It may have ended by itself, and the number may be somebody else's now.
  if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF " $pg_folder/data "; then kill -KILL "$pid" 2>/dev/null || true; fi
}

# It refuses while a process of the one before is there: it is tried again until that has ended.
postgres_start() {
  read_postgres_note || fail "PostgreSQL was not started"
  for _ in $(seq 120); do
    if postgres_is_running || postgres_launch; then return; fi
    sleep 0.5
  done
  fail "PostgreSQL does not start again: $(as_owner tail -n 5 "$pg_folder/log" 2>&1)"
}

postgres_restart() {
  read_postgres_note || fail "PostgreSQL is not running"
  postgres_ctl -m fast stop || true
  postgres_start
}

# Without a checkpoint: what was not on disk is recovered from the log at the next start.
postgres_abort() {
  read_postgres_note || fail "PostgreSQL is not running"
  postgres_ctl -m immediate stop || true
}

# No more room than what is taken. It is taken while we look, so it is looked again.
postgres_fill() {
  read_postgres_note || fail "PostgreSQL is not running"
  postgres_disk_is_own || fail "PostgreSQL has no disk of its own: start it with FINTECH_POSTGRES_DISK_MB, as root"
  for _ in $(seq 50); do
    if mount -o "remount,size=$(($(df --output=used -k "$pg_folder/data" | tail -n 1) + 64))k" "$pg_folder/data" 2>/dev/null
    then return; fi
  done
  fail "PostgreSQL's disk could not be filled"
}

postgres_free() {
  read_postgres_note || fail "PostgreSQL is not running"
  postgres_disk_is_own || return 0
  mount -o "remount,size=$(cat "$pg_folder/disk")m" "$pg_folder/data"
}

postgres_down() {
  if read_postgres_note; then
    postgres_abort
    if postgres_disk_is_own; then umount "$pg_folder/data" || umount -l "$pg_folder/data"; fi
    case $pg_folder in /tmp/fintech-postgres.*) rm -rf "$pg_folder" ;; esac
    rm -f "$postgres_note"
  fi
}
