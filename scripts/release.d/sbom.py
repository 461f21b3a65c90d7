"""Writes what is in the executable, in CycloneDX, and the licences of it, from the root of the clone:

    sbom.py EXECUTABLE TARGET VERSION COMMIT EPOCH BILL NOTICES

What is in the executable is required, what only built it excluded. The same executable gives the same bytes. It is judged by
CycloneDX's own schema before it is written.
"""

import datetime
import hashlib
import pathlib
import sys
import uuid

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

import linked
import notices

licences = LicenseFactory()


def licence(text):
    return [licences.make_from_string(text)] if text else []


def sha256(digest):
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []


def component(crate):
    scope = ComponentScope.REQUIRED if crate.is_linked else ComponentScope.EXCLUDED
    # The workspace's own crates have no purl: others have published crates of the same names.
    purl = PackageURL("cargo", None, crate.name, crate.version) if crate.source else None
    return Component(name=crate.name, version=crate.version, type=ComponentType.LIBRARY, scope=scope, purl=purl,
                     bom_ref=crate.id, licenses=licence(crate.licence), hashes=sha256(crate.sha256))


def foreign(library, number):
    purl = PackageURL.from_string(library.purl.format(number))
    return Component(name=library.name, version=number, type=ComponentType.LIBRARY, scope=ComponentScope.REQUIRED, purl=purl,
                     bom_ref=str(purl), cpe=library.cpe and library.cpe.format(number), licenses=licence(library.licence))


def bill(found, brought, digest, target, version, commit, epoch):
    own = next(crate for crate in found.values() if crate.name == "fintech" and crate.source is None)
    if own.version != version:
        raise SystemExit(f"the version is {version}, and cargo builds {own.version}")
    root = Component(name="fintech", version=version, type=ComponentType.APPLICATION, bom_ref=own.id,
                     licenses=licence(own.licence), hashes=sha256(digest),
                     properties=[Property(name="fintech:commit", value=commit), Property(name="fintech:target", value=target)])
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"fintech@{version}#{digest}"))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc)
    bom.metadata.component = root
    of = {key: root if crate is own else component(crate) for key, crate in found.items()}
    needs = {key: [of[need] for need in crate.needs] for key, crate in found.items()}
    for library, number, crate in brought:
        one = foreign(library, number)
        one.external_references.add(ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION, url=XsUri(f"https://crates.io/crates/{crate.name}/{crate.version}")))
        bom.components.add(one)
        bom.register_dependency(one)
        needs[crate.id].append(one)
    for key, one in of.items():
        if one is not root:
            bom.components.add(one)
        bom.register_dependency(one, needs[key])
    return bom


def main(executable, target, version, commit, epoch, out, out_notices):
    digest = hashlib.sha256(pathlib.Path(executable).read_bytes()).hexdigest()
    found = linked.crates(target)
    brought = linked.libraries(found, executable)
    bom = bill(found, brought, digest, target, version, commit, int(epoch))
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        raise SystemExit(f"the bill is not CycloneDX 1.6: {wrong}")
    pathlib.Path(out).write_text(text + "\n", encoding="utf-8")
    pathlib.Path(out_notices).write_text(notices.text(found, brought), encoding="utf-8")
    required = sum(one.scope == ComponentScope.REQUIRED for one in bom.components)
    print(f"{required} components in the executable, {len(bom.components) - required} that only build it")


if __name__ == "__main__":
    main(*sys.argv[1:])
