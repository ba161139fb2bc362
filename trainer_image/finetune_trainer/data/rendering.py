"""How the rows of a job become tokens, by its method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune_api.spec import ONLINE, FineTuneJobSpec, LossOn, Method, RewardFunctionType
from finetune_api.units import UNIT_OF, Unit

from finetune_trainer.data.chat import Chat, Rendered
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.document import Document, DocumentEncoder
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.feedback import Feedback
from finetune_trainer.data.grouping import prompt_id, text_id
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.prompt import Prompt
from finetune_trainer.data.ranking import Ranking
from finetune_trainer.data.table import TokenRow
from finetune_trainer.data.vocabulary import Vocabulary

Example = Conversation | Preference | Ranking | Feedback | Prompt | Document
"""What rows are read as."""


@dataclass(frozen=True)
class Ready:
    """An example as text, that waits for its tokens."""

    texts: tuple[Rendered, ...]
    """One for each row of the unit; of a pair the chosen side first."""
    group: int
    """Equal for equal prompts or documents."""
    spells_special: bool
    """Its text spells a special token."""
    values: tuple[float, ...] = ()
    """What people said of each row, where the method asks."""
    answer: str = ""
    """The right answer to a prompt that the model answers itself; "" where there is none."""


class Rendering:
    """Examples to text and text to tokens; one for a run."""

    def __init__(self, tokenizer: Any, spec: FineTuneJobSpec) -> None:
        """Raises UserError ModelInvalid for a tokenizer that cannot do what the method needs."""
        self.method = spec.method
        self.unit: Unit = UNIT_OF[spec.method]
        self.vocabulary = Vocabulary(tokenizer)
        self.needs_answer = needs_answer(spec)
        self.group_by = spec.data.group_by
        self.loss_on = spec.training.loss_on or LossOn.COMPLETION
        self._documents: DocumentEncoder | None = None
        self._chat: Chat | None = None
        if spec.method is Method.CPT:
            self._documents = DocumentEncoder(self.vocabulary)
        else:
            self._chat = Chat(tokenizer, self.vocabulary)
        if spec.method in ONLINE:
            self.vocabulary.eos_of("the model's answers")

    @property
    def chat(self) -> Chat:
        """The chat template; no part of CPT."""
        assert self._chat is not None
        return self._chat

    @property
    def template(self) -> str | None:
        """Source of the chat template that rows are rendered with; None for documents."""
        return self._chat.template_for() if self._chat else None

    @property
    def published_template(self) -> str | None:
        """The template used where the tokenizer has none; to be published with the result."""
        return self._chat.published_template if self._chat else None

    def render(self, example: Example) -> Ready:
        """The texts of one unit. Raises InvalidRow."""
        match example:
            case Document(text):
                spells = self.vocabulary.spells_special(text)
                return Ready((Rendered(text, None),), text_id(text), spells)
            case Conversation():
                rendered = self.chat.render(example, self.loss_on)
                spells = self.chat.holds_special_text(example)
                return Ready((rendered,), prompt_id(example.opening()), spells)
            case Feedback(conversation, desirable):
                return replace(self.render(conversation), values=(float(desirable),))
            case Prompt(conversation, answer):
                rendered = self.chat.render_open(conversation)
                spells = self.chat.holds_special_text(conversation)
                return Ready((rendered,), prompt_id(conversation.messages), spells, answer=answer)
            case Ranking(prompt, answers, scores):
                found = tuple(self.chat.render(answer) for answer in answers)
                spells = any(map(self.chat.holds_special_text, answers))
                return Ready(found, prompt_id(prompt), spells, tuple(scores))
            case Preference(prompt, chosen, rejected):
                texts = (self.chat.render(chosen), self.chat.render(rejected))
                if texts[0].text == texts[1].text:
                    raise InvalidRow(
                        Fault.PAIR, "the chat template makes chosen and rejected the same text"
                    )
                spells = any(map(self.chat.holds_special_text, (chosen, rejected)))
                return Ready(texts, prompt_id(prompt), spells, (1.0, 0.0))

    def encode(self, texts: Sequence[Rendered]) -> list[TokenRow]:
        """(token ids, label spans) of each text."""
        if self._documents:
            return self._documents.encode([rendered.text for rendered in texts])
        return self.chat.encode(texts)


def needs_answer(spec: FineTuneJobSpec) -> bool:
    """Whether rewards compare with the right answers of the rows."""
    functions = (spec.grpo.reward_functions if spec.grpo else None) or []
    return any(function.type is RewardFunctionType.EXACT_ANSWER for function in functions)


def check_unit(rows: Sequence[TokenRow]) -> None:
    """Raise InvalidRow for rows of which one teaches nothing, or a pair without one prompt."""
    if not all(spans for _, spans in rows):
        raise InvalidRow(Fault.NO_LABELS, "no token of the row would be learnt")
    prompts = [tokens[: spans[0][0]] for tokens, spans in rows]
    if any(prompt != prompts[0] for prompt in prompts[1:]):
        raise InvalidRow(
            Fault.PAIR,
            "the prompt has other tokens before the chosen than before the rejected answer: one "
            "of them may begin with white space that joins the prompt, so remove it",
        )
