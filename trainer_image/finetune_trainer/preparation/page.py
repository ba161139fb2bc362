"""The data report as a page."""

from finetune_trainer.preparation.report import DataReport


def render_page(report: DataReport) -> str:
    """One self-contained HTML page."""
    return f"<!doctype html><title>{report.rows}</title>"
