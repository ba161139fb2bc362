"""What a preparation found, as lines for a terminal."""

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from finetune_api.messages import PrepareMessage
from finetune_api.status import DataStatus


def data_lines(message: PrepareMessage) -> Iterator[str]:
    """The end of a preparation: counts, what the checks found, where the report and tokens lie."""
    if message.data is not None:
        yield counts_line(message.data)
        yield from finding_lines(message.data)
        yield from _report_line(message.data)
    if message.prepared is not None:
        yield f"Tokens: {shown_place(message.prepared.uri)}"


def counts_line(data: DataStatus) -> str:
    """How much there is."""
    return (
        f"Data: {data.rows:,} {data.unit.plural} to train on, {data.evaluation_rows:,} held "
        f"out, {data.dropped:,} dropped, {data.tokens:,} tokens in an epoch"
    )


def finding_lines(data: DataStatus) -> Iterator[str]:
    """A line for each check that found something."""
    for finding in data.findings or []:
        yield f"  {finding.check} ({finding.mode}): {finding.message}"


def fault_lines(data: DataStatus) -> Iterator[str]:
    """The first rows at fault, what the checks found and the report, of data that was refused."""
    for error in data.first_errors or []:
        field = f" {error.field}" if error.field else ""
        row = f":{error.row}" if error.row else ""
        yield f"{error.file}{row}{field}: {error.message}"
    yield from (line.strip() for line in finding_lines(data))
    yield from _report_line(data)


def _report_line(data: DataStatus) -> Iterator[str]:
    if data.report_uri is not None:
        yield f"Report: {shown_place(data.report_uri)}"


def shown_place(uri: str) -> str:
    """A path on this machine as such, other addresses as they are."""
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme == "file" else uri
