"""Sentences that name a cause and say what to do about it, for conditions and events."""

from finetune_api.reasons import Reason, remedy

MAX_EXPLAINED = 1024
"""What an event takes; a condition takes more."""
_GAP = " ... "


def explained(words: str, *reasons: Reason) -> str:
    """`words`, then the remedies of `reasons`; long words lose their middle, as log lines begin
    with what they are of and end with the error."""
    remedies = " ".join(remedy(reason) for reason in reasons)
    text = words.strip().rstrip(".")
    room = MAX_EXPLAINED - len(remedies) - len(". ")
    if len(text) > room:
        head = room // 4
        text = text[:head] + _GAP + text[len(text) - room + head + len(_GAP) :]
    return f"{text}. {remedies}" if text else remedies
