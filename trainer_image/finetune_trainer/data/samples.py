"""Held-out rows as text, for the answer that is shown before and after training."""

import json
from collections.abc import Sequence

from finetune_trainer.data.chat import Chat
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.corpus import LocalSource, find_conversations
from finetune_trainer.data.shapes import Shape
from finetune_trainer.prepared import MAX_SAMPLES, PreparedSplit, SampleRow


def sample_rows(
    held_out: PreparedSplit, sources: Sequence[LocalSource], shapes: Sequence[Shape], chat: Chat
) -> list[SampleRow]:
    """The first held-out rows, read again from their sources."""
    origins = list(
        zip(
            held_out.source_files[:MAX_SAMPLES].tolist(),
            held_out.source_rows[:MAX_SAMPLES].tolist(),
            strict=True,
        )
    )
    found: dict[tuple[int, int], Conversation] = {}
    for file in dict.fromkeys(file for file, _ in origins):
        wanted = frozenset(row for other, row in origins if other == file)
        for row, conversation in find_conversations(sources[file], shapes[file], wanted).items():
            found[file, row] = conversation
    return [_sample(found[origin], chat) for origin in origins]


def _sample(conversation: Conversation, chat: Chat) -> SampleRow:
    turn = conversation.assistant_turns()[-1]
    prompt = conversation.messages[:turn]
    answer = conversation.messages[turn]
    text = answer["content"] or json.dumps(answer.get("tool_calls"), ensure_ascii=False)
    return SampleRow(
        prompt_messages=prompt,
        prompt_text_rendered=chat.render_prompt(prompt, conversation.tools),
        answer_reference=text,
    )
