"""Files made to hurt their reader; all hold a word that no message may repeat."""

import codecs
import gzip
import io
import random
import zipfile
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.trainer.ingest.support import (
    LOREM,
    join_objects,
    make_docx,
    make_html,
    make_pdf,
    paragraph,
)

CANARY = "Zyzzyva"
"""What the messages must not hold."""
MIB = 2**20
_TOKENS = (
    *(b"\0", b'"', b"\n", b"\r", b",", b"<", b">", b"[", b"{", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"%%EOF", b"/Length 99999999999", b"stream", b"endobj", b"<<", b"99999999999", b"-1"),
    *(b"<!DOCTYPE x [", b"<![CDATA[", b"&#0;", b"<table>", b"PAR1", b"\x1f\x8b\x08", b"PK\x03\x04"),
)


def mutated(data: bytes, chooser: random.Random) -> bytes:
    """The bytes with a few random faults of the kinds that disks, editors and enemies make."""
    result = bytearray(data)
    for _ in range(chooser.choice((1, 1, 2, 4, 16))):
        place = chooser.randrange(len(result) + 1)
        length = chooser.choice((1, 2, 16, 256))
        match chooser.randrange(6):
            case 0:
                del result[place:]
            case 1:
                for _ in range(min(length, len(result))):
                    result[chooser.randrange(len(result))] ^= 1 << chooser.randrange(8)
            case 2:
                del result[place : place + length]
            case 3:
                result[place:place] = chooser.randbytes(length)
            case 4:
                result[place:place] = chooser.choice(_TOKENS) * chooser.choice((1, 1, 100))
            case 5:
                result[place:place] = result[place : place + length] * 3
    return bytes(result)


def sound_files() -> dict[str, bytes]:
    """A sound file of each kind, by its name."""
    text = f"{CANARY} {LOREM}"
    csv = ('prompt,messages\n"a ""b""","[{""role"": 1}]"\n' + f"{text[:40]},2\n" * 20).encode()
    buffer = io.BytesIO()
    nested = [[{"role": CANARY, "content": text}]] * 20
    pq.write_table(pa.table({"m": nested, "n": list(range(20)), "s": [1.5] * 20}), buffer)
    docx = make_docx(
        paragraph(text, '<w:pStyle w:val="Heading1"/>')
        + f"<w:tbl><w:tr><w:tc>{paragraph(text)}</w:tc></w:tr></w:tbl>"
    )
    pages = [[f"{CANARY} head", text, "broken exam-", f"ple {n}"] for n in range(5)]
    html = make_html(f"<table><tr><td>{text}</td></tr></table><ul><li>{text}</li></ul>").encode()
    return {
        "a.csv": csv,
        "utf16.csv": csv.decode().encode("utf-16"),
        "a.tsv": csv.replace(b",", b"\t"),
        "a.parquet": buffer.getvalue(),
        "a.pdf": make_pdf(pages, title=CANARY),
        "plain.pdf": _uncompressed_pdf(text),
        "a.docx": docx,
        "stored.docx": _stored(docx),
        "a.html": html,
        "a.md": f"---\ntitle: {CANARY}\n---\n# {text}\n\n```sh\n# x\n```\n".encode(),
        "a.txt": text.encode(),
        "a.csv.gz": gzip.compress(csv, mtime=0),
        "a.jsonl.zst": pa.compress(b'{"text": "x"}\n' * 50, "zstd", asbytes=True),
    }


def _uncompressed_pdf(text: str) -> bytes:
    content = f"BT /F1 10 Tf 50 750 Td ({text}) Tj ET".encode()
    return join_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /MediaBox [0 0 9 9]"
            b" /Resources << /Font << /F1 5 0 R >> >> >>",
            b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )


def _stored(docx: bytes) -> bytes:
    """The package without compression: faults reach the XML."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name))
    return buffer.getvalue()


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that become large ones."""
    zeros = bytes(48 * MIB)
    spaces = b" " * (48 * MIB)
    yield "zeros.csv.gz", gzip.compress(zeros)
    yield "lines.jsonl.gz", gzip.compress(b"{}\n" * (16 * MIB))
    yield "zeros.txt.zst", pa.compress(spaces, "zstd", asbytes=True)
    yield "twice.jsonl.gz", gzip.compress(gzip.compress(zeros))
    yield "space.docx", make_docx(spaces.decode())
    yield "one.docx", make_docx(paragraph("x" * (48 * MIB)))
    yield "paragraphs.docx", make_docx("<w:p/>" * (4 * MIB))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["x" * MIB] * 400}), buffer, compression="zstd")
    yield "same.parquet", buffer.getvalue()
    yield "stream.pdf", pdf_with_content(zlib.compress(spaces), b"/Filter /FlateDecode")
    twice = zlib.compress(zlib.compress(spaces))
    yield "streams.pdf", pdf_with_content(twice, b"/Filter [/FlateDecode /FlateDecode]")


def pdf_with_content(content: bytes, entries: bytes = b"", resources: bytes = b"") -> bytes:
    """A PDF of one page with this content stream."""
    return join_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /MediaBox [0 0 9 9]"
            b" /Resources << %b >> >>" % resources,
            b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), entries, content),
        ]
    )


def crafted() -> Iterator[tuple[str, bytes]]:
    """Files that follow their format to a place where readers get lost."""
    yield from _pdfs()
    yield from _documents()
    yield from _texts()


def _pdfs() -> Iterator[tuple[str, bytes]]:
    catalog = b"<< /Type /Catalog /Pages 2 0 R >>"
    loop = b"<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 /Parent 3 0 R >>"
    yield "loop.pdf", join_objects([catalog, loop, b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"])
    yield "count.pdf", join_objects([catalog, b"<< /Type /Pages /Kids [] /Count 2000000000 >>"])
    yield (
        "many.pdf",
        join_objects(
            [catalog, b"<< /Type /Pages /Kids [%b] /Count 9 >>" % (b"3 0 R " * 200_000), b"<< >>"]
        ),
    )
    sound = sound_files()["plain.pdf"]
    yield "length.pdf", sound.replace(b"/Length ", b"/Length 4000000000")
    yield "self.pdf", sound.replace(b"/Length ", b"/Length 4 0 R /Was ")
    yield "prev.pdf", sound.replace(b"/Root", b"/Prev 9 /Root")
    yield "startxref.pdf", sound.replace(b"startxref\n", b"startxref\n9999999999")
    yield "size.pdf", sound.replace(b"/Size ", b"/Size 99999999")
    yield "deep.pdf", pdf_with_content(b"[" * 100_000)
    yield "dicts.pdf", sound.replace(b"/Type /Catalog", b"/X " + b"<< /A " * 50_000)
    yield "header.pdf", b"%PDF-1.7\n"
    form = b"/XObject << /F 4 0 R >>"
    yield "form.pdf", pdf_with_content(b"/F Do /F Do", b"/Type /XObject /Subtype /Form", form)
    yield "operators.pdf", pdf_with_content(b"q " * 400_000)
    yield "letters.pdf", pdf_with_content(b"BT (%b) Tj ET" % (b"x" * 300_000))
    columns = b"/Filter /FlateDecode /DecodeParms << /Predictor 15 /Columns 2000000000 >>"
    yield "columns.pdf", pdf_with_content(zlib.compress(b"\2" + bytes(99)), columns)
    yield "lzw.pdf", pdf_with_content(b"\x80\x0b\x60\x50" * 9999, b"/Filter /LZWDecode")
    yield "hex.pdf", pdf_with_content(b"<" * 99_999, b"/Filter [/ASCIIHexDecode /ASCII85Decode]")
    cmap = b"1 begincodespacerange <0000> <ffff> endcodespacerange 1 beginbfrange <0000> <ffffffff>"
    yield "cmap.pdf", pdf_with_content(cmap, b"", b"/Font << /F1 << /ToUnicode 4 0 R >> >>")


def _documents() -> Iterator[tuple[str, bytes]]:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else CANARY}">' for n in range(12))
    laughs = f"<!DOCTYPE d [{entities}]>"
    body = paragraph("&l11;")
    yield "laughs.docx", make_docx(body, declaration=laughs)
    wide = make_docx(body, declaration=laughs)
    with zipfile.ZipFile(io.BytesIO(wide)) as archive:
        document = archive.read("word/document.xml").decode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", document.encode("utf-16"))
    yield "utf16-laughs.docx", buffer.getvalue()
    outside = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    yield "outside.docx", make_docx(paragraph("&x;"), declaration=outside)
    yield "deep.docx", make_docx("<w:sdt>" * 100_000)
    yield "tables.docx", make_docx("<w:tbl><w:tr><w:tc>" * 80 + "</w:tc></w:tr></w:tbl>" * 80)
    span = '<w:tcPr><w:gridSpan w:val="99999999"/></w:tcPr>'
    yield "span.docx", make_docx(f"<w:tbl><w:tr><w:tc>{span}{paragraph('x')}</w:tc></w:tr></w:tbl>")
    yield "empty.docx", make_docx("")
    yield "no-document.docx", _stored(make_docx("")).replace(b"word/document.xml", b"word/x.xml")
    styles = '<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    circle = '<w:style w:styleId="A"><w:basedOn w:val="A"/></w:style></w:styles>'
    yield "circle.docx", make_docx(body[:0] + paragraph("x"), {"word/styles.xml": styles + circle})
    for tag in ("div", "b", "table", "ul><li", "blockquote", "svg", "font"):
        yield f"deep-{tag[:3]}.html", f"<html><body>{f'<{tag}>' * 100_000}{CANARY}".encode()
    yield "wide.html", b"<html><body>" + b"<p>x" * 50_000
    yield "attributes.html", b"<p " + b"a=b " * 100_000 + b">x"
    yield "laughs.xhtml", f"{laughs}<html><body><p>&l11;</p></body></html>".encode()
    yield "open.html", b"<" * 500_000
    yield "meta.html", b"<meta charset=" * 50_000
    yield "backslashes.html", make_html("<p>" + "\\" * 300_000 + "</p>").encode()


def _texts() -> Iterator[tuple[str, bytes]]:
    words = f"{CANARY},b\n{CANARY} übel,2\n"
    for encoding in ("utf-16-le", "utf-16-be", "utf-32", "cp1252", "utf-7", "cp037", "shift_jis"):
        data = words.encode(encoding, "replace")
        yield from (
            (f"{encoding}.{suffix}", data) for suffix in ("csv", "tsv", "md", "txt", "html")
        )
    yield "odd.csv", codecs.BOM_UTF16_LE + words.encode("utf-16-le") + b"x"
    yield "surrogate.txt", codecs.BOM_UTF16_LE + b"\x00\xd8" + b"a\0"
    yield "nul.csv", b"a,b\n\0,1\n"
    yield "nul.md", b"# a\0b"
    yield "columns.csv", b",".join(b"c%d" % n for n in range(200_000)) + b"\n1\n" * 9
    yield "cells.csv", b"a,b\n" + b"," * 4 * MIB
    yield "quotes.csv", b'"' * 4 * MIB
    yield "brackets.csv", b"a,b\n" + b"[" * MIB + b",{" * 9
    yield "digits.csv", b"a,b\n[" + b"9" * MIB + b"],1\n"
    yield "spaces.txt", b" " * (4 * MIB) + b"x"
    yield "joiners.txt", ("م" + "\u200d" * 500_000 + "م").encode()
    yield "marks.txt", ("e" + "\u0301" * 500_000).encode()
    yield "heading.md", b"#" + b" #" * 30_000
    yield "fences.md", b"```\n" * 15_001
    yield "rules.md", b"---\n" * 100_000
    yield "lines.txt", b"\n" * (4 * MIB)
    yield "no-footer.parquet", b"PAR1" + bytes(1000)
    yield "footer.parquet", b"PAR1" + b"\xff" * 1000 + b"\xff\xff\xff\x7fPAR1"
    yield "small-footer.parquet", b"PAR1" + bytes(100) + b"\x40\0\0\0PAR1"


NAMES = (
    "../../../etc/passwd.csv",
    "a\nb.csv",
    "a\r\n\x1b[31m.csv",
    "-rf.csv",
    "$(reboot).csv",
    "a\udcff.csv",
    "x" * 5000 + ".csv",
    "\u202evsc.csv",
    "s3:%2F%2F.csv",
    "..csv",
)
"""Last parts of addresses that a careless program would take for something else."""
