"""Signs of files that rows are not read from, and what to tell people who bring them."""

_IMAGE = "is an image: give its text, from OCR, as .txt or Markdown"
_MEDIA = "is audio or video: give its transcript as .txt or Markdown"
_ARCHIVE = "is an archive: unpack it and give the files in it"
_WORKBOOK = "is an Excel workbook: save it as CSV (UTF-8)"
_SLIDES = "is a PowerPoint presentation: export it as PDF"
_OPEN_DOCUMENT = "is an OpenDocument file: save text as DOCX, and tables as CSV (UTF-8)"
_OLD_WORD = "is a Word document of the old .doc format: save it as DOCX"
_EPUB = "is an EPUB book: convert it to HTML or Markdown"
_RTF = "is an RTF document: save it as DOCX"
_ARROW = "is an Arrow file: write it as Parquet"

UNKNOWN_ZIP = "is a zip archive: unpack it and give the files in it"
ZIP_MEMBERS = {
    b"xl/workbook": _WORKBOOK,
    b"xl/worksheets": _WORKBOOK,
    b"ppt/presentation": _SLIDES,
    b"ppt/slides": _SLIDES,
    b"application/epub+zip": _EPUB,
    b"application/vnd.oasis.opendocument": _OPEN_DOCUMENT,
}
"""What a zip archive with such a member is."""

_NUL = b"\0"  # in no text: tells a file from prose that begins with the same letters
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
FOREIGN: tuple[tuple[int, bytes, bytes, str], ...] = (
    (0, _OLE, "EncryptedPackage".encode("utf-16-le"), "is protected by a password: remove it"),
    (0, _OLE, "WordDocument".encode("utf-16-le"), _OLD_WORD),
    (0, _OLE, "Workbook".encode("utf-16-le"), _WORKBOOK),
    (0, _OLE, "PowerPoint".encode("utf-16-le"), _SLIDES),
    (0, _OLE, b"", "is a file of an old Office format: save it as DOCX, PDF or CSV (UTF-8)"),
    (0, b"\x89PNG\r\n", b"", _IMAGE),
    (0, b"\xff\xd8\xff", b"", _IMAGE),
    (0, b"GIF87a", _NUL, _IMAGE),
    (0, b"GIF89a", _NUL, _IMAGE),
    (0, b"II*\0", b"", _IMAGE),
    (0, b"MM\0*", b"", _IMAGE),
    (0, b"RIFF", b"WEBP", _IMAGE),
    (4, b"ftyp", _NUL, _MEDIA),
    (0, b"RIFF", b"WAVE", _MEDIA),
    (0, b"OggS", _NUL, _MEDIA),
    (0, b"ID3", _NUL, _MEDIA),
    (0, b"fLaC", _NUL, _MEDIA),
    (0, b"\x1aE\xdf\xa3", b"", _MEDIA),
    (0, b"PK\x05\x06", b"", "is an empty zip archive"),
    (0, b"7z\xbc\xaf'\x1c", b"", _ARCHIVE),
    (0, b"Rar!\x1a\x07", b"", _ARCHIVE),
    (257, b"ustar", b"", _ARCHIVE),
    (0, b"BZh", b"1AY&SY", "is compressed by bzip2: use gzip or Zstandard"),
    (0, b"\xfd7zXZ\0", b"", "is compressed by xz: use gzip or Zstandard"),
    (0, b"\x04\x22M\x18", b"", "is compressed by LZ4: use gzip or Zstandard"),
    (0, b"ARROW1", _NUL, _ARROW),
    (0, b"\xff\xff\xff\xff", b"", _ARROW),
    (0, b"PARE", _NUL, "is an encrypted Parquet file: decrypt it"),
    (0, b"ORC", _NUL, "is an ORC file: write it as Parquet"),
    (0, b"Obj\x01", b"", "is an Avro file: write it as Parquet"),
    (0, b"SQLite format 3\0", b"", "is an SQLite database: export its tables as CSV (UTF-8)"),
    (0, b"\x89HDF\r\n", b"", "is an HDF5 file: write it as Parquet"),
    (0, b"\x93NUMPY", b"", "holds a NumPy array: write rows as JSON lines"),
    (0, b"\x80\x04\x95", b"", "is a Python pickle, which is not read: write it as JSON lines"),
    (0, b"\x80\x05\x95", b"", "is a Python pickle, which is not read: write it as JSON lines"),
    (0, b"{\\rtf", b"", _RTF),
    (0, b"%!PS", b"", "is a PostScript file: convert it to PDF"),
    (0, b"\x7fELF", b"", "is a program"),
)
"""(offset, bytes there, bytes anywhere near the ends, what the file is); the first that fits."""

SUFFIX_ADVICE = {
    **dict.fromkeys(("xlsx", "xls", "xlsm", "xlsb"), _WORKBOOK),
    **dict.fromkeys(("pptx", "ppt"), _SLIDES),
    **dict.fromkeys(("odt", "ods", "odp"), _OPEN_DOCUMENT),
    **dict.fromkeys(("tar", "tgz", "zip", "7z", "rar"), _ARCHIVE),
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "tif", "tiff", "bmp", "svg"), _IMAGE),
    **dict.fromkeys(("mp3", "mp4", "wav", "m4a", "ogg", "webm"), _MEDIA),
    "doc": _OLD_WORD,
    "epub": _EPUB,
    "rtf": _RTF,
    "arrow": _ARROW,
    "feather": _ARROW,
    "xml": "is XML: write its records as JSON lines or its text as HTML or .txt",
    "yaml": "is YAML: write its records as JSON lines",
    "yml": "is YAML: write its records as JSON lines",
    "pkl": "is a Python pickle, which is not read: write it as JSON lines",
    **dict.fromkeys(("rst", "tex", "log", "adoc", "org"), "is plain text: name it .txt or .md"),
}
"""What a file with such a suffix is that has no sign of its own."""
