"""Where the assistant's turns lie in a rendered conversation that does not mark them.

The text up to a turn, rendered with the generation prompt, must be a prefix of the whole; so
must the text up to its end, or the turn's content must follow at once. What cannot be verified
so is refused: a wrong loss mask trains on the user's words without anybody noticing.
"""

from collections.abc import Callable

from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.spans import CharSpan

Render = Callable[[list[Message], bool], str]
"""(turns, with the generation prompt) -> text."""


def locate_turns(conversation: Conversation, whole: str, render: Render) -> list[CharSpan]:
    """Spans of all assistant turns in `whole`. Raises InvalidRow naming the turn, from 1."""
    messages = conversation.messages
    return [
        _locate(messages, position, whole, render) for position in conversation.assistant_turns()
    ]


def _locate(messages: list[Message], position: int, whole: str, render: Render) -> CharSpan:
    before = render(messages[:position], True) if position else ""
    if not whole.startswith(before):
        raise _refused(position, "the turns before it read differently in the whole conversation")
    is_last = position == len(messages) - 1
    upto = whole if is_last else render(messages[: position + 1], False)
    if whole.startswith(upto) and len(upto) > len(before):
        return CharSpan(len(before), len(upto), exact=False)
    end = _end_of_content(whole, len(before), messages[position])
    if end is None:
        raise _refused(position, "it reads differently in the whole conversation")
    return CharSpan(len(before), end, exact=True)


def _end_of_content(whole: str, start: int, message: Message) -> int | None:
    """End of the turn's content when it follows `start` at once, but for white space."""
    content = str(message["content"]).strip()
    if not content or "tool_calls" in message:
        return None
    begin = start
    while begin < len(whole) and whole[begin].isspace():
        begin += 1
    return begin + len(content) if whole.startswith(content, begin) else None


def _refused(position: int, cause: str) -> InvalidRow:
    return InvalidRow(
        Fault.MASK,
        f"the loss mask of turn {position + 1} cannot be told: {cause}; use a chat template with "
        "{% generation %} marks",
        "messages",
    )
