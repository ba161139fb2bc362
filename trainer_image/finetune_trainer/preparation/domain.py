"""The texts that the relevance of rows is measured against."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import CheckMode, FineTuneJobSpec, Method, RowSource

from finetune_trainer.checks.relevance import Relevance
from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.data.rendering import needs_answer
from finetune_trainer.data.shapes import ROWS_LOOKED_AT, Shape, detect, document_shape
from finetune_trainer.data.wording import prompt_and_answer
from finetune_trainer.ingest.converter import Converter
from finetune_trainer.preparation.files import DocumentChunk, SourceReader
from finetune_trainer.preparation.local_files import LocalFile, LocalSource, LocalSources

MOST_TEXTS = 20_000
"""Texts that are read of a domain."""


def domain_of(spec: FineTuneJobSpec, sources: LocalSources, folder: Path) -> Relevance | None:
    """The domain of data.domainText, or of the evaluation rows; None where there is neither.

    Raises UserError for domain text that holds none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Converter() as converter:
        reader = SourceReader(converter, folder)
        if sources.domain:
            relevance = Relevance.of(_texts(sources.domain, Method.CPT, reader, needs=False))
            if not relevance.count:
                raise UserError(
                    Reason.INVALID_DATA,
                    "holds no text to measure against",
                    where=sources.domain[0].source.uri,
                )
            return relevance
        if not sources.evaluation or spec.data.checks.quality is CheckMode.OFF:
            return None
        needs = needs_answer(spec)
        return Relevance.of(_texts(sources.evaluation, spec.method, reader, needs=needs))


def _texts(
    sources: Sequence[LocalSource], method: Method, reader: SourceReader, *, needs: bool
) -> Iterator[str]:
    """The first texts of good rows; what is wrong with others is told where they are trained on."""
    left = MOST_TEXTS
    for local in sources:
        for file in local.files:
            # What is wrong with a file of evaluation rows is told where it is read whole.
            with suppress(UserError):
                for text in _texts_of(file, local.source, method, reader, needs=needs):
                    yield text
                    left -= 1
                    if not left:
                        return


def _texts_of(
    file: LocalFile, source: RowSource, method: Method, reader: SourceReader, *, needs: bool
) -> Iterator[str]:
    shape: Shape | None = None
    source = source.model_copy(update={"uri": file.uri})
    for chunk in reader.chunks(file):
        if isinstance(chunk, DocumentChunk):
            rows = [chunk.row(reader.converter)]
            shape = document_shape(source, file.uri, method)
        else:
            rows = [row for _, row in chunk.rows()]
        good = [row for row in rows if not isinstance(row, InvalidRow)]
        if shape is None and good:
            shape = detect(source, good[:ROWS_LOOKED_AT], method, needs_answer=needs)
        for row in good:
            with suppress(InvalidRow):
                assert shape is not None
                yield "\n".join(prompt_and_answer(shape.reader.read(row)))
