"""How a model's answers end: the token that ends a turn, and what the template writes after it."""

from dataclasses import dataclass

from finetune_trainer.data.chat import Chat
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.faults import InvalidRow
from finetune_trainer.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class TurnEnd:
    """The end of an assistant's turn, in tokens."""

    token: int | None
    """The special token that ends it, which the model learns; None where the template has none."""
    tail: list[int]
    """What follows it in a conversation that is over."""

    @classmethod
    def of(cls, chat: Chat, vocabulary: Vocabulary) -> "TurnEnd":
        """That of a chat template, as a short conversation shows it."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            ((tokens, spans),) = chat.encode([chat.render(Conversation(turns))])
        except InvalidRow:
            return cls(None, [])  # a template with other wishes
        end = spans[-1][1]
        token = tokens[end - 1]
        return cls(token if token in vocabulary.special_ids else None, tokens[end:])
