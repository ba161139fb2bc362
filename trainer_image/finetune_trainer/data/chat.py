"""The model's chat template and tokenizer, applied to conversations."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import LossOn
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.plain_template import plain_template
from finetune_trainer.data.spans import CharSpan, Span, token_spans
from finetune_trainer.data.turns import locate_turns
from finetune_trainer.data.vocabulary import Vocabulary

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_MARKER = re.compile(r"<\|[A-Za-z0-9_\-]+\|>")
TODAY = "26 Jul 2024"
"""Date in templates that show one: fixed, so that the same rows give the same tokens."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text."""

    text: str
    spans: list[CharSpan] | None
    """What is learnt; None: every token but the first."""


class Chat:
    """Renders and tokenises conversations; one for a run."""

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary | None = None) -> None:
        """Raises UserError ModelInvalid when the template's markers are not in the vocabulary."""
        self._tokenizer = tokenizer
        self.vocabulary = vocabulary or Vocabulary(tokenizer)
        self.published_template: str | None = None
        """The template used when the tokenizer has none; to be published with the result."""
        if not tokenizer.chat_template:
            self.published_template = plain_template(begins_with_bos=self.vocabulary.adds_bos)
        self._names = dict(tokenizer.special_tokens_map)
        self._check_markers()

    def template_for(self, tools: object = None) -> str:
        """The template's source; some tokenizers have another one for tools."""
        if self.published_template is not None:
            return self.published_template
        return str(self._tokenizer.get_chat_template(tools=tools))

    def render(self, conversation: Conversation, loss_on: LossOn = LossOn.COMPLETION) -> Rendered:
        """Text of `conversation`, and what of it `loss_on` chooses. Raises InvalidRow."""
        template = self.template_for(conversation.tools)
        _check_support(conversation, template)
        if loss_on is LossOn.ALL:
            text, _ = self._apply(conversation.messages, conversation.tools)
            _check_content(conversation, text)
            return Rendered(text, None)
        if _GENERATION.search(template):
            text, marked = self._apply(conversation.messages, conversation.tools)
            spans = [CharSpan(start, end, exact=True) for start, end in marked]
            _check_count(conversation, spans)
        else:
            text, _ = self._apply(conversation.messages, conversation.tools)
            spans = locate_turns(
                conversation,
                text,
                lambda turns, prompt: self._apply(turns, conversation.tools, prompt=prompt)[0],
            )
        _check_content(conversation, text)
        pairs = zip(conversation.assistant_turns(), spans, strict=True)
        learnt = [span for turn, span in pairs if turn not in conversation.unweighted]
        return Rendered(text, learnt[-1:] if loss_on is LossOn.LAST_TURN else learnt)

    def render_open(self, conversation: Conversation) -> Rendered:
        """Text of `conversation` as the model reads it when it is to answer; nothing is learnt.
        Raises InvalidRow."""
        _check_support(conversation, self.template_for(conversation.tools))
        text = self.render_prompt(conversation.messages, conversation.tools)
        _check_content(conversation, text)
        return Rendered(text, [])

    def render_prompt(self, messages: list[Message], tools: list[dict[str, Any]] | None) -> str:
        """`messages` as the model reads them when it is to answer. Raises InvalidRow."""
        return self._apply(messages, tools, prompt=True)[0]

    def encode(self, batch: Sequence[Rendered]) -> list[tuple[list[int], list[Span]]]:
        """(token ids, label spans) of each text. The template alone places special tokens."""
        texts = [rendered.text for rendered in batch]
        encodings = self.vocabulary.encode(texts, special=False)
        return [
            (encoding.ids, self._spans(rendered, encoding))
            for rendered, encoding in zip(batch, encodings, strict=True)
        ]

    def holds_special_text(self, conversation: Conversation) -> bool:
        """Whether a turn's text spells a special token, which the model then reads as one."""
        spells = self.vocabulary.spells_special
        return any(spells(str(message["content"])) for message in conversation.messages)

    def _spans(self, rendered: Rendered, encoding: Any) -> list[Span]:
        tokens = encoding.ids
        if rendered.spans is None:
            return [(1, len(tokens))]
        special = self.vocabulary.special_ids
        return token_spans(rendered.spans, encoding.offsets, tokens, special)

    def _apply(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, *, prompt: bool = False
    ) -> tuple[str, list[Span]]:
        """(text, spans within generation marks)."""
        template = self.template_for(tools)
        marks = bool(_GENERATION.search(template))
        try:
            texts, spans = render_jinja_template(
                conversations=[messages],
                tools=tools,
                chat_template=template,
                return_assistant_tokens_mask=marks,
                add_generation_prompt=prompt,
                date_string=TODAY,
                **self._names,
            )
        except TemplateError as error:
            raise InvalidRow(Fault.TEMPLATE, _words_of(error, template), "messages") from error
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            message = f"the chat template fails on the turns: {type(error).__name__}"
            raise InvalidRow(Fault.TEMPLATE, message, "messages") from error
        return texts[0], spans[0] if marks else []

    def _check_markers(self) -> None:
        """A marker such as <|im_start|> must be one token, or turns cannot be told apart."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            text, _ = self._apply(turns, None)
        except InvalidRow:
            return  # a template with other wishes; rows will tell
        for marker in sorted(set(_MARKER.findall(text))):
            if len(self._tokenizer.encode(marker, add_special_tokens=False)) != 1:
                raise UserError(
                    Reason.MODEL_INVALID,
                    f"the chat template's marker {marker} is not one token of the tokenizer; "
                    "remove the template, or use the tokenizer that it was made for",
                    where="tokenizer",
                )


def _words_of(error: TemplateError, template: str) -> str:
    """The template's own sentence where it is a constant; anything else may hold values."""
    words = error.message or ""
    if words and words in template:
        return f"the chat template refuses the turns: {words}"
    return "the chat template refuses the turns (their roles or their order)"


def _check_support(conversation: Conversation, template: str) -> None:
    """Refuse what the template would leave out without a word."""
    calls = any("tool_calls" in message for message in conversation.messages)
    if calls and "tool_calls" not in template:
        raise InvalidRow(Fault.TOOLS, "the model's chat template has no tool calls", "messages")
    if conversation.tools and "tools" not in template:
        raise InvalidRow(Fault.TOOLS, "the model's chat template takes no tools", "tools")


def _check_count(conversation: Conversation, spans: list[CharSpan]) -> None:
    turns = conversation.assistant_turns()
    if len(spans) != len(turns):
        raise InvalidRow(
            Fault.MASK,
            f"the chat template marks {len(spans)} of {len(turns)} assistant turns; turn "
            f"{turns[min(len(spans), len(turns) - 1)] + 1} cannot be told",
            "messages",
        )


def _check_content(conversation: Conversation, text: str) -> None:
    """Every system, user and assistant text must be in the rendered text, in order."""
    position = 0
    for number, message in enumerate(conversation.messages, start=1):
        content = str(message["content"]).strip()
        if message["role"] == "tool" or "tool_calls" in message:
            continue
        found = text.find(content, position if message["role"] != "system" else 0)
        if found < 0 and json.dumps(content, ensure_ascii=False)[1:-1] not in text:
            raise InvalidRow(
                Fault.TEMPLATE,
                f"the chat template leaves out or changes the text of turn {number}",
                "messages",
            )
        position = max(position, found)
