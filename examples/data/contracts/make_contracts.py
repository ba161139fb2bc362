"""Set the contracts of text/ as PDF files, by the standard library alone.

Each has what makes contracts hard to read for a program: a running head, page numbers, words that
a hyphen breaks at the end of a line. scanned-annex.pdf has a picture in place of text, as a
scanner without text recognition leaves it.
"""

import argparse
import textwrap
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT = 420, 595
"""Of a page of size A5, in points."""
LEFT, TOP, LEADING = 40, 540, 17
COLUMNS, LINES = 54, 26
"""Characters of a line, lines of a page."""
BREAKS = (
    "agree-ment", "adver-tis-ing", "assist-ance", "com-part-ment", "con-firm-ed", "con-trac-tor",
    "count-ies", "dam-age", "deliv-ers", "doc-u-mented", "elec-tric-ity", "enter-ed", "gross-ly",
    "in-for-ma-tion", "in-spec-tion", "in-struc-tion", "in-sur-ance", "lia-bil-ity", "lia-ble",
    "lock-er", "lock-ers", "main-te-nance", "mod-ule", "mod-ules", "num-ber", "oper-ator",
    "par-cel", "par-cels", "par-ties", "per-son-al", "per-sons", "pho-to-graph", "pro-ces-sor",
    "prop-er-ty", "re-cip-ient", "re-cip-ients", "res-er-va-tion", "ser-vice", "tech-ni-cian",
    "tech-ni-cians", "tele-phone", "with-in", "with-out", "work-ing",
)  # fmt: skip
"""Words that may be broken, and where."""


def lines_of(text: str) -> list[str]:
    """The text in lines of a page's width, broken where `BREAKS` allows it."""
    places = {word.replace("-", ""): word.split("-") for word in BREAKS}
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines.append("")
        for word in paragraph.split():
            if len(lines[-1]) + len(word) < COLUMNS:
                lines[-1] = f"{lines[-1]} {word}".lstrip()
                continue
            head, tail = broken(word, places, COLUMNS - len(lines[-1]) - 2)
            lines[-1] += f" {head}-" if head else ""
            lines.append(tail)
    return lines


def broken(word: str, places: dict[str, list[str]], room: int) -> tuple[str, str]:
    """(what of a word still fits into `room` characters, the rest)."""
    parts = places.get(word.rstrip(".,;:)").lower(), [])
    sizes = [len("".join(parts[:end])) for end in range(1, len(parts))]
    fitting = max((size for size in sizes if size <= room), default=0)
    return word[:fitting], word[fitting:]


def page_content(lines: Iterable[str], head: str, foot: str) -> bytes:
    """Operators that draw a page of text."""
    drawn = ["BT /F1 8 Tf", f"{LEFT} {TOP + 25} Td ({escaped(head)}) Tj ET"]
    drawn += ["BT /F1 11 Tf", f"{LEADING} TL {LEFT} {TOP} Td"]
    drawn += [f"({escaped(line)}) Tj T*" for line in lines]
    drawn += ["ET BT /F1 8 Tf", f"{LEFT} 30 Td ({escaped(foot)}) Tj ET"]
    return "\n".join(drawn).encode("cp1252")


def escaped(text: str) -> str:
    """The inside of a PDF string."""
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def pdf(pages: list[bytes], title: str) -> bytes:
    """A file of pages with these contents: its objects, and a table of where each begins."""
    first = 5
    kids = " ".join(f"{first + 2 * page} 0 R" for page in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Title ({escaped(title)}) >>".encode("cp1252"),
    ]
    for page, content in enumerate(pages):
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents "
            f"{first + 2 * page + 1} 0 R /Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    file = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{len(file)}\n%%EOF\n"
    return file + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def contract(text: str) -> bytes:
    """A contract whose first line is its title."""
    title = text.splitlines()[0]
    lines = lines_of(text)
    pages = [lines[start : start + LINES] for start in range(0, len(lines), LINES)]
    head = f"Larkspool Ltd - {title}"
    return pdf(
        [
            page_content(page, head, f"Page {number} of {len(pages)}")
            for number, page in enumerate(pages, start=1)
        ],
        title,
    )


def scan() -> bytes:
    """A page that holds grey bars, as a picture of lines, and no text."""
    bars = "\n".join(f"{LEFT} {TOP - 22 * row} {330 - row % 3 * 40} 8 re f" for row in range(20))
    return pdf([f"0.6 g\n{bars}".encode()], "Annex 1")


def main() -> None:
    """Write all files into one folder."""
    parser = argparse.ArgumentParser(description=textwrap.dedent(str(__doc__)))
    parser.add_argument("--output", type=Path, default=HERE / "data")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((HERE / "text").glob("*.txt")):
        (folder / f"{source.stem}.pdf").write_bytes(contract(source.read_text(encoding="utf-8")))
    (folder / "scanned-annex.pdf").write_bytes(scan())


if __name__ == "__main__":
    main()
