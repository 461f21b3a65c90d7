"""The licences of everything that is in the executable.

Most licences ask for their text and the names of the authors wherever the program goes. Each text stands once, behind all
that it is the licence of.
"""

import re

FILE = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# Of SQLite's header only the blessing.
HEADER_LINES_MAX = 12


def texts(crate):
    for path in sorted(crate.folder.iterdir()):
        if FILE.match(path.name) and path.is_file():
            yield path.read_text(encoding="utf-8", errors="replace").strip()


def text_of(library, crate):
    path = crate.folder / library.texts
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[:HEADER_LINES_MAX]) if path.suffix == ".h" else text


def text(found, brought):
    """Of the crates and of the libraries that they bring along, as linked.py finds them."""
    lines, of_text = [], {}
    for crate in sorted(found.values(), key=lambda crate: crate.id):
        if crate.source and crate.is_linked:
            lines.append(f"{crate.name} {crate.version}: {crate.licence}")
            for licence in texts(crate):
                of_text.setdefault(licence, []).append(f"{crate.name} {crate.version}")
    for library, number, crate in brought:
        lines.append(f"{library.name} {number}: {library.licence}")
        of_text.setdefault(text_of(library, crate), []).append(f"{library.name} {number}")
    rule = "-" * 78
    parts = ["fintech is under the Apache License 2.0 (LICENSE). In it are, under these licences:", "", *sorted(lines)]
    for licence, names in of_text.items():
        parts += ["", rule, *sorted(names), rule, "", licence]
    return "\n".join(parts) + "\n"
