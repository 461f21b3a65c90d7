# Python's packages, fetched with pip into a folder of their own. The script that reads this file has say, fail, install and
# target.

is_made() { [ "$(cat "$1/stamp" 2>/dev/null)" = "$2" ]; }

# make_python FOLDER REQUIREMENTS...: the last file names the others.
make_python() {
  local folder=$target/$1 stamp
  shift
  stamp=$({ sha256sum "$@" && printf '%s\n' "$PWD"; } | sha256sum | cut -d' ' -f1)
  if is_made "$folder" "$stamp" && "$folder/bin/python" -c '' 2>/dev/null; then return; fi
  python3 -c 'import ensurepip, venv' 2>/dev/null || install "Python's venv" python3 python3-venv
  say "fetching Python's packages with pip"
  rm -rf "$folder"
  { python3 -m venv "$folder" &&
    "$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r "${!#}"; } \
    </dev/null >"$target/python.log" 2>&1 || fail "pip could not fetch them: $(tail -n 5 "$target/python.log")"
  echo "$stamp" >"$folder/stamp"
}
