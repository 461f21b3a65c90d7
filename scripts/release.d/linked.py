"""What is in the executable: the crates that cargo links, and the libraries that crates bring along in other languages.

What a crate brings along stands in VENDORED. A crate that links a library and is not there stops the release: a bill that
leaves something out without saying so is worse than none.
"""

import dataclasses
import json
import pathlib
import re
import subprocess
import tomllib


@dataclasses.dataclass(frozen=True)
class Crate:
    name: str
    version: str
    licence: str
    folder: pathlib.Path
    source: str | None  # None: of this workspace.
    sha256: str | None
    is_linked: bool  # Otherwise it only builds.
    needs: tuple[str, ...]  # Ids of others.

    @property
    def id(self):
        return f"{self.name}@{self.version}"


@dataclasses.dataclass(frozen=True)
class Library:
    """A library in another language, inside a crate."""

    crate: str
    name: str
    licence: str
    purl: str
    # The file in the crate with its version, and how it is written there; parts are joined by dots.
    file: str
    pattern: str
    texts: str  # Where its licence lies in the crate.
    cpe: str | None = None
    # What the executable holds when the library is in it, with {} for the version; None: it says nothing of itself.
    mark: str | None = None
    # Only in the executable when that does not load it from the system.
    unless_loaded: str | None = None


CARGO_VERSION = r'^version = "[^+"]*\+([\d.]+)'
VENDORED = [
    Library("openssl-src", "OpenSSL", "Apache-2.0", "pkg:github/openssl/openssl@openssl-{}", "Cargo.toml", CARGO_VERSION,
            "openssl/LICENSE.txt", "cpe:2.3:a:openssl:openssl:{}:*:*:*:*:*:*:*", mark="OpenSSL {} "),
    Library("rdkafka-sys", "librdkafka", "BSD-2-Clause", "pkg:github/confluentinc/librdkafka@v{}", "Cargo.toml", CARGO_VERSION,
            "librdkafka/LICENSES.txt"),
    Library("rdkafka-sys", "cJSON", "MIT", "pkg:github/DaveGamble/cJSON@v{}", "librdkafka/src/cJSON.h",
            r"#define CJSON_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", "librdkafka/LICENSE.cjson"),
    Library("rdkafka-sys", "LZ4", "BSD-2-Clause", "pkg:github/lz4/lz4@v{}", "librdkafka/src/lz4.h",
            r"#define LZ4_VERSION_(?:MAJOR|MINOR|RELEASE) +(\d+)", "librdkafka/LICENSE.lz4", "cpe:2.3:a:lz4_project:lz4:{}:*:*:*:*:*:*:*"),
    Library("libsqlite3-sys", "SQLite", "blessing", "pkg:github/sqlite/sqlite@version-{}", "sqlite3/sqlite3.h",
            r'^#define SQLITE_VERSION +"([\d.]+)"', "sqlite3/sqlite3.h", "cpe:2.3:a:sqlite:sqlite:{}:*:*:*:*:*:*:*", mark="{}"),
    Library("zstd-sys", "Zstandard", "BSD-3-Clause", "pkg:github/facebook/zstd@v{}", "zstd/lib/zstd.h",
            r"#define ZSTD_VERSION_(?:MAJOR|MINOR|RELEASE) +(\d+)", "zstd/LICENSE", "cpe:2.3:a:facebook:zstandard:{}:*:*:*:*:*:*:*"),
    Library("libz-sys", "zlib", "Zlib", "pkg:github/madler/zlib@v{}", "src/zlib/zlib.h", r'#define ZLIB_VERSION "([\d.]+)',
            "src/zlib/LICENSE", "cpe:2.3:a:zlib:zlib:{}:*:*:*:*:*:*:*", mark="\0{}\0", unless_loaded="libz.so"),
    Library("tikv-jemalloc-sys", "jemalloc", "BSD-2-Clause", "pkg:github/jemalloc/jemalloc@{}", "Cargo.toml", CARGO_VERSION,
            "jemalloc/COPYING", "cpe:2.3:a:jemalloc:jemalloc:{}:*:*:*:*:*:*:*"),
    Library("utoipa-swagger-ui-vendored", "swagger-ui", "Apache-2.0", "pkg:npm/swagger-ui-dist@{}", "README.md",
            r"Swagger UI version: .([\d.]+)", "LICENSE-APACHE"),
]
# Crates that name a library for the linker and bring none that has a life of its own.
ITS_OWN = {
    "ring",  # Its C and assembler, out of BoringSSL, are the crate's own versions.
    "openssl-sys",  # openssl-src brings it.
    "prettyplease",  # To be there once; Rust.
}


def said(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def tree(target, edges):
    """The ids of what `cargo build` takes for the program."""
    listed = said("cargo", "tree", "--locked", "--package", "fintech", "--target", target, "--edges", edges,
                  "--prefix", "none", "--no-dedupe", "--format", "{p}")
    return {"@".join(line.split()[:2]).replace("@v", "@") for line in listed.splitlines() if line}


def crates(target):
    """All crates that link or build the program, by their ids."""
    linked, all_of_them = tree(target, "normal,no-proc-macro"), tree(target, "normal,build")
    metadata = json.loads(said("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    ids = {package["id"]: f"{package['name']}@{package['version']}" for package in metadata["packages"]}
    needs = {
        ids[node["id"]]: sorted(
            ids[dependency["pkg"]] for dependency in node["deps"]
            if ids[dependency["pkg"]] in all_of_them and any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]))
        for node in metadata["resolve"]["nodes"]
    }
    with open("Cargo.lock", "rb") as file:
        locked = {f"{package['name']}@{package['version']}": package.get("checksum") for package in tomllib.load(file)["package"]}
    found = {}
    for package in metadata["packages"]:
        key = ids[package["id"]]
        if key not in all_of_them:
            continue
        if package["links"] and package["name"] not in ITS_OWN and not brought_by(package["name"]):
            raise SystemExit(f"{key} links {package['links']}: say in {__file__} what it brings along")
        found[key] = Crate(package["name"], package["version"], (package["license"] or "").replace("/", " OR "),
                           pathlib.Path(package["manifest_path"]).parent, package["source"], locked[key], key in linked,
                           tuple(needs[key]))
    missing = all_of_them - found.keys()
    if missing:
        raise SystemExit(f"cargo's tree and metadata differ: {sorted(missing)}")
    return found


def brought_by(crate):
    return [library for library in VENDORED if library.crate == crate]


def version(library, crate):
    text = (crate.folder / library.file).read_text(encoding="utf-8", errors="replace")
    parts = re.findall(library.pattern, text, re.MULTILINE)
    if not parts:
        raise SystemExit(f"{crate.folder / library.file} does not say the version of {library.name}")
    return parts[0] if "." in parts[0] else ".".join(parts[:3])


def libraries(found, executable):
    """What the crates bring along and is in the executable: (library, version, crate)."""
    data = pathlib.Path(executable).read_bytes()
    loads = said("readelf", "--dynamic", executable)
    brought = []
    for crate in found.values():
        for library in brought_by(crate.name):
            number = version(library, crate)
            if library.unless_loaded and library.unless_loaded in loads:
                continue
            if library.mark and library.mark.format(number).encode() not in data:
                raise SystemExit(f"{library.name} should be {number}, and the executable does not say so")
            brought.append((library, number, crate))
    return brought
