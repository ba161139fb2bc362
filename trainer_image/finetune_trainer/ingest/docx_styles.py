"""What a paragraph of a DOCX is: a heading, an item of a list, or text."""

import re
from dataclasses import dataclass
from typing import Self
from xml.etree.ElementTree import Element

from finetune_trainer.ingest.docx_xml import Package, W

_VALUE = f"{W}val"
_HEADING = re.compile(r"heading (\d)")
_MAX_HEADING = 6
_MAX_LEVEL = 8
_MAX_STYLES = 16
"""Styles that a style may rest upon, one on the other."""


@dataclass(frozen=True)
class Styles:
    """Heading levels of styles, and which lists are numbered."""

    headings: dict[str, int]
    """Level, from 1, by the style's id."""
    listed: dict[str, str]
    """Id of the list by the id of the style that puts paragraphs into it."""
    numbered: frozenset[str]
    """Ids of lists whose first level is numbered."""

    @classmethod
    def of(cls, package: Package, main: str) -> Self:
        """The styles of a package, none if it has no such parts. Raises UnreadableFile."""
        name = package.beside(main, "styles.xml")
        styles = {}
        if package.has(name):
            for style in package.parse(name).iter(f"{W}style"):
                styles[style.get(f"{W}styleId", "")] = style
        headings = {id_: level for id_ in styles if (level := _heading_level(id_, styles))}
        listed = {id_: number for id_, style in styles.items() if (number := _list_of(style))}
        return cls(headings, listed, _numbered(package, main))

    def prefix(self, paragraph: Element) -> tuple[str, bool]:
        """(Markdown before the paragraph's text, whether it is an item of a list)."""
        properties = paragraph.find(f"{W}pPr")
        if properties is None:
            return "", False
        style = _value(properties, "pStyle") or ""
        outline = _value(properties, "outlineLvl")
        level = self.headings.get(style) or _outline_level(outline)
        if level:
            return "#" * level + " ", False
        number = _list_of(paragraph) or self.listed.get(style)
        if not number or number == "0":  # 0 takes a paragraph out of its style's list
            return "", False
        depth = _value(properties, f"numPr/{W}ilvl") or "0"
        indent = "  " * min(int(depth) if depth.isdecimal() else 0, _MAX_LEVEL)
        return indent + ("1. " if number in self.numbered else "- "), True


def _value(element: Element, path: str) -> str | None:
    found = element.find(f"{W}{path}")
    return None if found is None else found.get(_VALUE)


def _list_of(element: Element) -> str | None:
    return _value(element, f"pPr/{W}numPr/{W}numId")


def _outline_level(value: str | None) -> int:
    """The heading level of an outline level, which counts from 0; 9 is body text."""
    if value is None or not value.isdecimal() or int(value) > _MAX_LEVEL:
        return 0
    return min(int(value) + 1, _MAX_HEADING)


def _heading_level(style_id: str, styles: dict[str, Element]) -> int:
    """The level of a style that is a heading or rests on one; else 0.

    The name is "heading 1" in all languages; only ids are translated.
    """
    for _ in range(_MAX_STYLES):
        style = styles.get(style_id)
        if style is None:
            return 0
        name = (_value(style, "name") or "").lower()
        if name == "title":
            return 1
        if match := _HEADING.fullmatch(name):
            return min(int(match[1]), _MAX_HEADING)
        if level := _outline_level(_value(style, f"pPr/{W}outlineLvl")):
            return level
        style_id = _value(style, "basedOn") or ""
    return 0


def _numbered(package: Package, main: str) -> frozenset[str]:
    name = package.beside(main, "numbering.xml")
    if not package.has(name):
        return frozenset()
    root = package.parse(name)
    abstract = set()
    for definition in root.iter(f"{W}abstractNum"):
        kind = _value(definition, f"lvl/{W}numFmt")
        if kind not in (None, "bullet", "none"):
            abstract.add(definition.get(f"{W}abstractNumId"))
    return frozenset(
        number.get(f"{W}numId", "")
        for number in root.iter(f"{W}num")
        if _value(number, "abstractNumId") in abstract
    )
