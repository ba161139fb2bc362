"""Files of each kind as people have them, made small."""

import io
import zipfile
import zlib
from collections.abc import Sequence

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
LOREM = (
    "The pump runs dry when the intake valve stays closed for more than ten seconds, so open it "
    "before you start the motor and look at the gauge."
)


def make_pdf(
    pages: Sequence[Sequence[str]], *, title: str | None = None, trailer: str = ""
) -> bytes:
    """A PDF with a line of text for each string; Latin-1."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        shown = "".join(f"({_escaped(line)}) Tj T* " for line in lines)
        content = zlib.compress(f"BT /F1 10 Tf 14 TL 50 750 Td {shown}ET".encode("latin-1"))
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream"
            % (len(content), content)
        )
    info = ""
    if title is not None:
        objects.append(f"<< /Title ({_escaped(title)}) >>".encode("latin-1"))
        info = f"/Info {len(objects)} 0 R "
    return join_objects(objects, info + trailer)


def join_objects(objects: Sequence[bytes], trailer: str = "") -> bytes:
    """A PDF of these objects, the first being the catalog."""
    data = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return data + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R %b>>\n"
        b"startxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, table, len(objects) + 1, trailer.encode(), len(data))
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def make_docx(body: str, parts: dict[str, str] | None = None, *, declaration: str = "") -> bytes:
    """A DOCX with this XML in its body."""
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    files = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": (
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="rId1" Type="{relation}" Target="word/document.xml"/>'
            "</Relationships>"
        ),
        "word/document.xml": (
            f'{declaration}<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
        ),
        **(parts or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def paragraph(text: str, properties: str = "") -> str:
    """The XML of a paragraph."""
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def make_html(main: str, *, title: str = "Pump manual") -> str:
    """A page with navigation around its main text."""
    return (
        f"<!DOCTYPE html><html><head><meta charset='utf-8'><title>{title}</title></head><body>"
        "<nav><ul><li><a href='/'>Home</a></li><li><a href='/shop'>Shop</a></li></ul></nav>"
        f"<article><h1>Pumps</h1><p>{LOREM}</p>{main}<p>{LOREM}</p></article>"
        "<footer><a href='/imprint'>Imprint</a></footer></body></html>"
    )
