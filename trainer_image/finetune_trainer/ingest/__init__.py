"""Any file that people bring becomes JSON lines on disk, written by a confined process.

kinds -> converter (this process) -> child -> inflate, tables, parquet, pdf, docx, html, plain
"""
