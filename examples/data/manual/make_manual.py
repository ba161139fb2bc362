"""Write the manual as a DOCX file, by the standard library alone.

A DOCX file is a ZIP archive of XML files. What is here is the least that word processors and the
trainer read: a body with headings, lists, tables and tracked changes, styles, numbering, a title.
"""

import argparse
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
TITLE = "Larkspool L8 parcel locker: installation and service manual"
CONTENT = HERE / "manual.txt"
"""A line is a paragraph. `# ` and `## ` begin headings, `- ` items, `1. ` numbered items, `| ` rows
of tables; {-old-} is a deletion and {+new+} an insertion that nobody has accepted yet."""

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
CHANGE = 'w:id="1" w:author="Service desk" w:date="2025-04-02T09:00:00Z"'
PARTS = {
    "[Content_Types].xml": f"""<Types xmlns="{PACKAGE}/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument\
.wordprocessingml.document.main+xml"/>
<Override PartName="/word/styles.xml" ContentType="application/vnd.openxmlformats-officedocument\
.wordprocessingml.styles+xml"/>
<Override PartName="/word/numbering.xml" ContentType="application/vnd.openxmlformats-officedocument\
.wordprocessingml.numbering+xml"/>
<Override PartName="/docProps/core.xml" ContentType="application/vnd.openxmlformats-package\
.core-properties+xml"/>
</Types>""",
    "_rels/.rels": f"""<Relationships xmlns="{PACKAGE}/relationships">
<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="word/document.xml"/>
<Relationship Id="r2" Type="{PACKAGE}/relationships/metadata/core-properties" \
Target="docProps/core.xml"/>
</Relationships>""",
    "word/_rels/document.xml.rels": f"""<Relationships xmlns="{PACKAGE}/relationships">
<Relationship Id="r1" Type="{OFFICE}/styles" Target="styles.xml"/>
<Relationship Id="r2" Type="{OFFICE}/numbering" Target="numbering.xml"/>
</Relationships>""",
    "docProps/core.xml": f"""<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" \
xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{TITLE}</dc:title></cp:coreProperties>""",
    "word/styles.xml": f"""<w:styles xmlns:w="{W}">
<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>
<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/>\
<w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style>
<w:style w:type="paragraph" w:styleId="Heading2"><w:name w:val="heading 2"/>\
<w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
</w:styles>""",
    "word/numbering.xml": f"""<w:numbering xmlns:w="{W}">
<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/>\
<w:lvlText w:val="-"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/>\
<w:lvlText w:val="%1."/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>
<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
</w:numbering>""",
}
LIST = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="{}"/></w:numPr>'
PREFIXES = {
    "## ": '<w:pStyle w:val="Heading2"/>',
    "# ": '<w:pStyle w:val="Heading1"/>',
    "- ": LIST.format(1),
    "1. ": LIST.format(2),
}


def runs(text: str) -> Iterator[str]:
    """The text as runs; what stands between marks as a tracked change."""
    while text:
        plain, mark, text = text.partition("{")
        if plain:
            yield run(plain)
        if mark:
            changed, _, text = text.partition("}")
            inside = run(changed[1:-1], "t" if changed[0] == "+" else "delText")
            tag = "ins" if changed[0] == "+" else "del"
            yield f"<w:{tag} {CHANGE}>{inside}</w:{tag}>"


def run(text: str, tag: str = "t") -> str:
    """One run of text."""
    return f'<w:r><w:{tag} xml:space="preserve">{escape(text)}</w:{tag}></w:r>'


def paragraph(line: str) -> str:
    """A heading, an item or plain text."""
    properties = ""
    for prefix, meaning in PREFIXES.items():
        if line.startswith(prefix):
            line, properties = line.removeprefix(prefix), f"<w:pPr>{meaning}</w:pPr>"
            break
    return f"<w:p>{properties}{''.join(runs(line))}</w:p>"


def table(lines: list[str]) -> str:
    """Rows of cells."""
    rows = [[paragraph(cell.strip()) for cell in line.strip("| ").split("|")] for line in lines]
    cells = ("".join(f"<w:tc>{cell}</w:tc>" for cell in row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"


def body(text: str) -> Iterator[str]:
    """Paragraphs and tables."""
    rows: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("| "):
            rows.append(line)
            continue
        if rows:
            yield table(rows)
            rows = []
        if line:
            yield paragraph(line)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "data")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    inside = "".join(body(CONTENT.read_text(encoding="utf-8")))
    document = f'<w:document xmlns:w="{W}"><w:body>{inside}</w:body></w:document>'
    with zipfile.ZipFile(folder / "l8-manual.docx", "w") as archive:
        for name, part in {**PARTS, "word/document.xml": document}.items():
            # A date of its own for each member would make each file another one.
            archive.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), HEAD + part)


if __name__ == "__main__":
    main()
