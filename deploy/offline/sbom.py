"""The bill of materials of a pack: CycloneDX 1.6 as JSON, checked against its schema before it is written.

Each wheel is a library with its sha256, licence and what it needs of the others; each model bundle is a machine-learning model
with the datasets that it learnt from and their licences. The serial number comes from the content: the same files, the same
number.
"""

import email
import hashlib
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.offline.install import digest
from edgecell.bundle import Bundle

VERSION = SchemaVersion.V1_6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel and what its METADATA says."""

    path: Path
    metadata: Message

    @classmethod
    def read(cls, path: Path) -> "Wheel":
        with zipfile.ZipFile(path) as archive:
            name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1)
            return cls(path=path, metadata=email.message_from_bytes(archive.read(name)))

    @property
    def name(self) -> str:
        return canonicalize_name(self.metadata["Name"])

    @property
    def version(self) -> str:
        return str(self.metadata["Version"])

    @property
    def licence(self) -> str:
        """As the package states it: an SPDX expression, else what its metadata calls a licence, "" for none."""
        classified = [each.rpartition(" :: ")[2] for each in self.metadata.get_all("Classifier", []) if "License ::" in each]
        stated = str(self.metadata["License-Expression"] or self.metadata["License"] or "").strip()
        return stated.splitlines()[0] if stated else ", ".join(classified)

    def needs(self, markers: Mapping[str, str], extras: Iterable[str]) -> Iterator[str]:
        """Names of what it requires on a machine that answers so to markers, with these extras."""
        for text in self.metadata.get_all("Requires-Dist", []):
            requirement = Requirement(text)
            answers = [{**markers, "extra": extra} for extra in ("", *extras)]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in answers):
                yield canonicalize_name(requirement.name)


def bill(wheels: Iterable[Wheel], bundles: Mapping[str, Bundle], markers: Mapping[str, str], extras: Iterable[str]) -> str:
    """The JSON text. wheels: all that are packed, edgecell's own among them. bundles: path in the pack -> bundle.

    Raises ValueError where CycloneDX's schema does not allow it.
    """
    parts = {wheel.name: (wheel, _library(wheel)) for wheel in wheels}
    models = [_model(where, bundle) for where, bundle in bundles.items()]
    _, subject = parts["edgecell"]
    subject.type = ComponentType.APPLICATION
    libraries = [part for _, part in parts.values() if part is not subject]
    bom = Bom(metadata=BomMetaData(component=subject), components=[*libraries, *models])
    content = sorted(each.content for part in [subject, *libraries, *models] for each in part.hashes)
    bom.serial_number = uuid.UUID(bytes=hashlib.sha256("\n".join(content).encode()).digest()[:16], version=4)
    for wheel, part in parts.values():
        needs = set(wheel.needs(markers, extras if part is subject else ()))
        bom.register_dependency(part, [parts[name][1] for name in sorted(needs & {*parts})])
    bom.register_dependency(subject, models)
    text = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2)
    check(text)
    return text + "\n"


def check(text: str) -> None:
    """Raises ValueError for what CycloneDX's schema does not allow."""
    fault = JsonStrictValidator(VERSION).validate_str(text)
    if fault is not None:
        raise ValueError(f"the bill of materials is not CycloneDX: {str(fault)[:300]}")


def _library(wheel: Wheel) -> Component:
    stated = wheel.licence
    return Component(
        type=ComponentType.LIBRARY,
        name=wheel.name,
        version=wheel.version,
        bom_ref=f"{wheel.name}@{wheel.version}",
        purl=PackageURL("pypi", name=wheel.name, version=wheel.version),
        licenses=[LicenseFactory().make_from_string(stated)] if stated else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest(wheel.path))],
        properties=[Property(name="edgecell:file", value=f"wheels/{wheel.path.name}")],
    )


def _model(where: str, bundle: Bundle) -> Component:
    """A bundle, known by its manifest, which names every file with its sha256. where: its path in the pack."""
    manifest = bundle.manifest
    learnt = [Property(name=f"edgecell:dataset:{each.name}", value=each.licence) for each in manifest.provenance.datasets]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=manifest.name,
        version=manifest.version,
        bom_ref=where,
        description=f"{manifest.task} on {manifest.specimen}, {len(manifest.classes)} classes",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=bundle.sha256)],
        properties=[Property(name="edgecell:file", value=where), *learnt],
    )
