"""The files of a data report: report.json for programs, report.html for people."""

import json

from finetune_trainer.preparation.page import render_page
from finetune_trainer.preparation.report import DataReport
from finetune_trainer.storage import Store

REPORT_FILE = "report.json"
PAGE_FILE = "report.html"


def page_of(uri: str) -> str:
    """Address of the page beside a report at `uri`."""
    return f"{uri.removesuffix('.json')}.html"


def upload_report(store: Store, report: DataReport, uri: str) -> None:
    """Write `report` to `uri`, which ends in .json, and its page beside it."""
    store.write(uri, json.dumps(report.to_wire(), ensure_ascii=False, indent=1).encode())
    store.write(page_of(uri), render_page(report).encode())
