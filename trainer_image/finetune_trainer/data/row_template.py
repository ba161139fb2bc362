"""The Jinja template that makes a text from the columns of a row."""

from collections.abc import Mapping

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from finetune_trainer.data.conversation import check_text
from finetune_trainer.data.faults import Fault, InvalidRow

MAX_RENDERED = 16 * 2**20
"""Characters of one rendered text."""


class RowTemplate:
    """`template` of a source, rendered in a sandbox."""

    def __init__(self, source: str, where: str) -> None:
        """Raises UserError InvalidSpec when `source` is no Jinja template; `where` names it."""
        self._made_of = (source, where)
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise UserError(
                Reason.INVALID_SPEC,
                f"is not a Jinja template (line {error.lineno}: {error.message})",
                where=where,
            ) from error

    def __reduce__(self) -> tuple[type["RowTemplate"], tuple[str, str]]:
        """Compiled anew in another process."""
        return RowTemplate, self._made_of

    def render(self, values: Mapping[str, object]) -> str:
        """The text made of `values`. Raises InvalidRow."""
        try:
            text = self._template.render(values)
        except TemplateError as error:
            message = f"the template fails on this row: {error.message or type(error).__name__}"
            raise InvalidRow(Fault.TEMPLATE, message, "template") from error
        except (ArithmeticError, LookupError, TypeError, ValueError, OverflowError) as error:
            message = f"the template fails on this row: {type(error).__name__}"
            raise InvalidRow(Fault.TEMPLATE, message, "template") from error
        if not text.strip():
            raise InvalidRow(Fault.EMPTY, "the template gives no text for this row", "template")
        if len(text) > MAX_RENDERED:
            raise InvalidRow(Fault.TEMPLATE, "the template gives too much text", "template")
        check_text(text, "template")
        return text
