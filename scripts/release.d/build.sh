# Builds the executable so that it is the same wherever the clone, cargo's sources and the target lie.

# Called otherwise in the executable: FOLDER=NAME. Compilers take the last that fits.
folders() {
  local sources home=${CARGO_HOME:-$HOME/.cargo}
  for sources in "$home"/registry/src/*/; do printf '%s=/cargo\n' "${sources%/}"; done
  # Where it is installed, the compiler names the standard library's sources by their place.
  printf '%s=/rustc/%s\n' "$(rustc --print sysroot)/lib/rustlib/src/rust" "$(rustc -vV | sed -n 's/^commit-hash: //p')"
  printf '%s=/fintech\n' "$PWD"
  printf '%s=/target\n' "$1"
}

build() {
  local built=$target/build flags='' map
  # Otherwise cargo would take them instead of those of .cargo/config.toml and ours.
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CFLAGS CXXFLAGS
  # Before anything is compiled: what is not there yet has no folder.
  cargo fetch --locked --quiet
  FINTECH_RELEASE_MAP=$(folders "$built")
  export FINTECH_RELEASE_MAP
  while IFS= read -r map; do flags+="${flags:+,}'--remap-path-prefix=$map'"; done <<<"$FINTECH_RELEASE_MAP"
  # The compiler of C goes through scripts/release.d/bin; zlib is linked, whatever the machine has.
  PATH=$PWD/scripts/release.d/bin:$PATH LIBZ_SYS_STATIC=1 CARGO_INCREMENTAL=0 \
    cargo --config "build.rustflags=[$flags]" build --release --locked --package fintech --target-dir "$built"
  executable=$built/release/fintech
}
