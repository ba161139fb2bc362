"""The parts of a DOCX package, inflated and parsed within bounds."""

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import Limits, UnreadableFile

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
REL = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_MAIN = "/officeDocument"
"""How the type of the relationship to the main part ends."""
_CHUNK = 2**16
_MAX_DEPTH = 256
"""Levels of XML; recursion over the tree stays within Python's limit."""
_MAX_PARTS = 100_000


class Package:
    """The parts of a DOCX file, counted as they inflate."""

    def __init__(self, archive: zipfile.ZipFile, stored: int, limits: Limits) -> None:
        self._archive = archive
        self._stored = stored
        self._limits = limits
        self._inflated = 0
        self._names = set(archive.namelist())
        if len(self._names) > _MAX_PARTS:
            raise UnreadableFile(Fault.LIMIT, f"holds more than {_MAX_PARTS:,} parts")

    def has(self, name: str) -> bool:
        """Whether there is such a part."""
        return name in self._names

    def main_part(self) -> str:
        """The name of the part that holds the text. Raises UnreadableFile."""
        if self.has("_rels/.rels"):
            for relation in self.parse("_rels/.rels").iter(f"{REL}Relationship"):
                target = relation.get("Target", "").lstrip("/")
                if relation.get("Type", "").endswith(_MAIN) and self.has(target):
                    return target
        if self.has("word/document.xml"):
            return "word/document.xml"
        raise UnreadableFile(Fault.FILE, "is no DOCX: it holds no document")

    def beside(self, main: str, name: str) -> str:
        """The name of a part in the folder of the main part."""
        return posixpath.join(posixpath.dirname(main), name)

    def parse(self, name: str) -> Element:
        """The root element of a part. Raises UnreadableFile; zipfile.BadZipFile."""
        builder = _Builder()
        try:
            for chunk in self._read(name):
                builder.feed(chunk)
            return builder.close()
        except (zlib.error, EOFError, expat.ExpatError, NotImplementedError) as error:
            raise UnreadableFile(
                Fault.FILE, "is a damaged DOCX: a part of it cannot be read; save it again"
            ) from error

    def _read(self, name: str) -> Iterator[bytes]:
        if self._archive.getinfo(name).flag_bits & 1:
            raise UnreadableFile(Fault.FILE, "is protected by a password: remove it")
        with self._archive.open(name) as part:
            while chunk := part.read(_CHUNK):
                self._inflated += len(chunk)
                self._limits.check_inflated(self._inflated, self._stored)
                yield chunk


class _Builder:
    """Builds a tree from XML without document type, so that no entity expands."""

    def __init__(self) -> None:
        self._tree = TreeBuilder()
        self._depth = 0
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._tree.data

    def feed(self, data: bytes) -> None:
        self._parser.Parse(data, False)

    def close(self) -> Element:
        self._parser.Parse(b"", True)
        return self._tree.close()

    def _doctype(self, *_: object) -> None:
        raise UnreadableFile(
            Fault.FILE, "is no DOCX that an office program wrote: its XML declares a document type"
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnreadableFile(Fault.FILE, f"is nested more than {_MAX_DEPTH} levels deep")
        self._tree.start(_clark(tag), {_clark(name): value for name, value in attributes.items()})

    def _end(self, tag: str) -> None:
        self._depth -= 1
        self._tree.end(_clark(tag))


def _clark(name: str) -> str:
    """A name as ElementTree writes it; Strict OOXML's names as those of the usual kind."""
    namespace, separator, local = name.rpartition("}")
    if namespace == _STRICT:
        return W + local
    return f"{{{namespace}}}{local}" if separator else local
