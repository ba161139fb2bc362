"""What the preparation makes of a job."""

import json

from finetune_api.errors import UserError
from finetune_api.messages import PrepareMessage
from finetune_api.resolve import resolve
from finetune_api.runfile import JobIdentity, RunFile
from finetune_api.spec import FineTuneJobSpec
from finetune_trainer.preparation.run import RefusedDataError, run_prepare
from finetune_trainer.prepared import Prepared, PreparedSplit
from finetune_trainer.prepared_files import read_prepared
from finetune_trainer.storage import open_store
from finetune_trainer.storage.addresses import file_path

from tests.unit.fields.bench import Bench

JOB = JobIdentity(namespace="team", name="job", uid="0123456789")


def prepare(bench: Bench, spec: FineTuneJobSpec) -> PrepareMessage:
    """Run the preparation in this process. Raises UserError."""
    store = open_store(spec.storage, allow_loopback=False)
    work = bench.fresh / "prepare"
    work.mkdir(exist_ok=True)
    return run_prepare(RunFile(job=JOB, spec=resolve(spec)), work, store, lambda _: None)


def train_rows(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Tokens and label spans of every row to train on, or that there are none to be had."""
    data = _prepared(bench, spec)
    return data and _rows_of(data.train)


def held_out_rows(bench: Bench, spec: FineTuneJobSpec) -> object:
    """The same of the rows to measure on."""
    data = _prepared(bench, spec)
    return data and _rows_of(data.evaluation)


def epoch(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Tokens that an epoch reads."""
    message = prepare(bench, spec)
    assert message.data is not None
    return message.data.tokens


def checked(bench: Bench, spec: FineTuneJobSpec) -> object:
    """The rows that go on, and how many rows each check finds something in."""
    rows: object = None
    try:
        message = prepare(bench, spec)
        assert message.prepared is not None
        read = read_prepared(file_path(message.prepared.uri))
        rows, data = [_rows_of(read.train), _rows_of(read.evaluation)], message.data
    except RefusedDataError as refused:
        data = refused.data
    assert data is not None
    return rows, [(finding.check, finding.rows) for finding in data.findings or []]


def relevance(bench: Bench, spec: FineTuneJobSpec) -> object:
    """How near the rows are to the domain."""
    message = prepare(bench, spec)
    assert message.data is not None
    assert message.data.report_uri is not None
    report = file_path(message.data.report_uri).with_suffix(".json")
    found = json.loads(report.read_text())
    return found["relevance"], found["irrelevant"]


def is_prepared(bench: Bench, spec: FineTuneJobSpec) -> object:
    """Whether the job goes on, or is refused for its rows or its output."""
    return _prepared(bench, spec) is not None


def _prepared(bench: Bench, spec: FineTuneJobSpec) -> Prepared | None:
    try:
        message = prepare(bench, spec)
    except UserError:
        return None
    assert message.prepared is not None
    return read_prepared(file_path(message.prepared.uri))


def _rows_of(split: PreparedSplit) -> list[tuple[list[int], list[list[int]]]]:
    rows = (split.row(index) for index in range(len(split)))
    return [(tokens.tolist(), spans.tolist()) for tokens, spans in rows]
