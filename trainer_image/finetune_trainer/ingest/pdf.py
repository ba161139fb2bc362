"""PDF: the text of each page, by pypdf."""

import re
from pathlib import Path

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError, PyPdfError

from finetune_trainer.data.faults import Fault
from finetune_trainer.ingest.failure import UnreadableFile
from finetune_trainer.ingest.pages import join_broken_words, without_running_lines
from finetune_trainer.ingest.text import Document, first_line, normalise, title_of

_SCANNED_CHARACTERS = 50
"""A page with fewer characters has no text of its own: it is a picture, or blank."""
_BETWEEN_PAGES = "\n\n"
_LIGATURES = str.maketrans(
    {
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "ﬅ": "st",
        "ﬆ": "st",
    }
)
# Names that writers give where people gave none.
_NO_TITLE = re.compile(r"^(untitled|microsoft word - |.*\.(docx?|tex|dvi|pdf|indd|qxd)$)", re.I)


def read_pdf(path: Path) -> Document:
    """The pages' text, joined by a blank line, without running heads and feet.

    Raises UnreadableFile SCANNED if most pages hold no text, FILE for an encrypted or damaged
    file, LIMIT for one whose streams inflate too far.
    """
    try:
        reader = PdfReader(path)
        _decrypt(reader)
        # ASCII hyphens come with a soft hyphen in some files: it ends the line all the same.
        pages = [_page_text(page.extract_text()) for page in reader.pages]
        title = _metadata_title(reader)
    except LimitReachedError as error:
        raise UnreadableFile(
            Fault.LIMIT, "a part of it inflates too far, or is declared too large"
        ) from error
    except (FileNotDecryptedError, DependencyError) as error:
        raise _encrypted() from error
    except PyPdfError as error:
        raise UnreadableFile(
            Fault.FILE, f"is a damaged PDF ({type(error).__name__}); print it to a new PDF"
        ) from error
    _check_scanned(pages)
    pages = [normalise(page) for page in join_broken_words(without_running_lines(pages))]
    return _document(pages, title)


def _decrypt(reader: PdfReader) -> None:
    if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
        raise _encrypted()


def _encrypted() -> UnreadableFile:
    return UnreadableFile(
        Fault.FILE, "is an encrypted PDF: save it without a password and without restrictions"
    )


def _page_text(text: str) -> str:
    return normalise(text.replace("\u00ad\n", "-\n").translate(_LIGATURES))


def _check_scanned(pages: list[str]) -> None:
    if not pages:
        raise UnreadableFile(Fault.EMPTY, "has no pages")
    bare = sum(len(page) < _SCANNED_CHARACTERS for page in pages)
    if bare > len(pages) / 2:
        raise UnreadableFile(
            Fault.SCANNED,
            f"needs OCR: {bare} of {len(pages)} pages hold fewer than {_SCANNED_CHARACTERS} "
            "characters of text",
        )


def _metadata_title(reader: PdfReader) -> str | None:
    title = reader.metadata.title if reader.metadata else None
    if not isinstance(title, str) or _NO_TITLE.match(title.strip()):
        return None
    return title


def _document(pages: list[str], title: str | None) -> Document:
    text = ""
    starts = []
    for page in pages:
        if text and page:
            text += _BETWEEN_PAGES
        starts.append(len(text))
        text += page
    return Document(text, title_of(title, first_line(text)), starts)
