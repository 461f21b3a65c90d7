# Debian's packages, where one is missing and may be installed. The script that reads this file has say and fail.

# install WHAT PACKAGE...
install() {
  local what=$1 apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
  shift
  command -v apt-get >/dev/null || fail "$what is missing and there is no apt-get: install it"
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "$what is missing and neither root nor sudo is at hand: run 'apt-get install $*' as root"
    apt=(sudo -n "${apt[@]}")
  fi
  say "$what is missing: installing it with apt-get"
  { "${apt[@]}" update -q && "${apt[@]}" install -y -q --no-install-recommends "$@"; } </dev/null >&2 ||
    fail "apt-get could not install $what: see its messages above"
}
