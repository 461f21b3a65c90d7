# What is made of the executable. $work holds what is prepared: program (stripped), debug, man, completions, bill, notices.

prepare() {
  local shell file id
  mkdir -p "$work/completions"
  # Without lines, which are most of it, and with the names of functions: panics and profiles tell them.
  objcopy --only-keep-debug --compress-debug-sections=zlib "$executable" "$work/debug"
  objcopy --strip-debug "$executable" "$work/program"
  # Nothing of this machine's settings.
  mkdir "$work/empty"
  (cd "$work/empty" && env -i "$work/program" man --out "$work/man")
  for shell in bash zsh fish; do
    (cd "$work/empty" && env -i "$work/program" completions "$shell" >"$work/completions/$shell")
  done
  "$python" -B scripts/release.d/sbom.py "$work/program" "$triple" "$version" "$commit" "$SOURCE_DATE_EPOCH" \
    "$work/bill" "$work/notices" >&2
  cp "$work/bill" "$out/$name.cdx.json"
  id=$(readelf --notes "$work/program" | sed -n 's/.*Build ID: //p')
  [ -n "$id" ] || fail "the linker gave the executable no build id"
  put 0644 "$work/debug" "$work/lines/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug"
  pack "$work/lines" usr >"$out/$name.debug.tar"
}

# put MODE FILE PLACE
put() { command install -D -m "$1" "$2" "$3"; }

# copy FOLDER PLACE: what git knows of it, so that nothing else gets in. What a link to a folder leads to is copied, too.
copy() {
  local file
  git ls-files -z -- "$1" | while IFS= read -r -d '' file; do
    if [ -d "$file" ]; then
      copy "$(realpath --relative-to=. "$file")" "$2/${file#"$1"/}"
    else
      put 0644 "$file" "$2/${file#"$1"/}"
    fi
  done
}

# compress FILE PLACE
compress() {
  mkdir -p "$(dirname "$2")"
  gzip -9n <"$1" >"$2"
  chmod 0644 "$2"
}

# pack FOLDER NAME: the same folder, the same bytes.
pack() {
  tar --create --directory "$1" --format=gnu --sort=name --owner=root:0 --group=root:0 --mode=go-w \
    --mtime="@$SOURCE_DATE_EPOCH" "$2"
}

# What both packages have: shared PLACE
shared() {
  copy deploy/prometheus/rules "$1/prometheus/rules"
  copy deploy/alertmanager "$1/alertmanager"
  copy deploy/grafana/dashboards "$1/grafana/dashboards"
  copy deploy/grafana/provisioning "$1/grafana/provisioning"
  copy deploy/slo "$1/slo"
  copy schemas "$1/schemas"
}

archive() {
  local root=$work/archive/$name page
  put 0755 "$work/program" "$root/bin/fintech"
  for page in LICENSE README.md CHANGELOG.md SECURITY.md appsettings.json; do put 0644 "$page" "$root/$page"; done
  put 0644 "$work/notices" "$root/THIRD-PARTY"
  put 0644 "$work/bill" "$root/fintech.cdx.json"
  for page in "$work"/man/*.1; do put 0644 "$page" "$root/share/man/man1/${page##*/}"; done
  put 0644 "$work/completions/bash" "$root/share/bash-completion/completions/fintech"
  put 0644 "$work/completions/zsh" "$root/share/zsh/site-functions/_fintech"
  put 0644 "$work/completions/fish" "$root/share/fish/vendor_completions.d/fintech.fish"
  put 0644 deploy/systemd/fintech.service "$root/lib/systemd/system/fintech.service"
  copy docs "$root/docs"
  copy deploy/helm "$root/share/fintech/helm"
  shared "$root/share/fintech"
  pack "$work/archive" "$name" | gzip -n >"$out/$name.tar.gz"
}

# Which of Debian's packages the program needs, in which versions at least.
depends() {
  mkdir -p "$work/depends/debian"
  printf 'Source: fintech\n\nPackage: fintech\nArchitecture: any\n' >"$work/depends/debian/control"
  (cd "$work/depends" && dpkg-shlibdeps -O "$work/program" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
}

debian_package() {
  local root=$work/deb page architecture needed
  local documents=$root/usr/share/doc/fintech
  architecture=$(dpkg --print-architecture)
  deb=fintech_$version-1_$architecture.deb
  put 0755 "$work/program" "$root/usr/bin/fintech"
  put 0644 deploy/systemd/fintech.service "$root/lib/systemd/system/fintech.service"
  put 0600 deploy/debian/fintech.env "$root/etc/fintech/fintech.env"
  put 0644 deploy/debian/copyright "$documents/copyright"
  put 0644 "$work/bill" "$documents/fintech.cdx.json"
  compress "$work/notices" "$documents/THIRD-PARTY.gz"
  compress CHANGELOG.md "$documents/changelog.gz"
  changelog >"$work/changelog"
  compress "$work/changelog" "$documents/changelog.Debian.gz"
  for page in "$work"/man/*.1; do compress "$page" "$root/usr/share/man/man1/${page##*/}.gz"; done
  put 0644 "$work/completions/bash" "$root/usr/share/bash-completion/completions/fintech"
  put 0644 "$work/completions/zsh" "$root/usr/share/zsh/vendor-completions/_fintech"
  put 0644 "$work/completions/fish" "$root/usr/share/fish/vendor_completions.d/fintech.fish"
  put 0644 deploy/debian/lintian-overrides "$root/usr/share/lintian/overrides/fintech"
  shared "$root/usr/share/fintech"

  mkdir "$root/DEBIAN"
  needed=$(depends)
  [ -n "$needed" ] || fail "dpkg-shlibdeps does not know what the program needs"
  sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@DEPENDS@|$needed, init-system-helpers (>= 1.54~)|" \
    -e "s|@SIZE@|$(kibibytes "$root")|" deploy/debian/control >"$root/DEBIAN/control"
  (cd "$root" && find etc -type f | sort | sed 's|^|/|') >"$root/DEBIAN/conffiles"
  (cd "$root" && find lib usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
  for page in postinst prerm postrm; do put 0755 "deploy/debian/$page" "$root/DEBIAN/$page"; done
  find "$root" -type d -exec chmod 0755 {} +
  # dpkg takes the moment from SOURCE_DATE_EPOCH only for what is newer.
  find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zgzip -z6 --build "$root" "$out/$deb" >&2
}

# In Debian's form; what changed stands in CHANGELOG.md.
changelog() {
  printf 'fintech (%s-1) unstable; urgency=medium\n\n  * Version %s; what changed is in changelog.gz beside this file.\n\n' \
    "$version" "$version"
  printf ' -- %s  %s\n' "$(sed -n 's/^Maintainer: //p' deploy/debian/control)" "$(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
}

# As dpkg-gencontrol counts: files rounded up, and 1 for whatever else is in the folder.
kibibytes() {
  find "$1" -mindepth 1 -not -path "$1/DEBIAN*" -printf '%y %s\n' |
    awk '{ sum += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print sum }'
}
