"""Held-out rows as text, for the answer that is shown before and after training."""

import json

import numpy as np

from finetune_trainer.data.chat import Chat
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.document import Document
from finetune_trainer.data.feedback import Feedback
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.prompt import Prompt
from finetune_trainer.data.ranking import Ranking
from finetune_trainer.data.rendering import Example, Rendering
from finetune_trainer.data.vocabulary import Vocabulary
from finetune_trainer.preparation.corpus import CorpusReader
from finetune_trainer.prepared import MAX_SAMPLES, PreparedSplit, SampleRow

_OPENING = 400
"""Characters of a document that the model is to go on from, at most."""


def sample_rows(
    held_out: PreparedSplit, reader: CorpusReader, rendering: Rendering
) -> list[SampleRow]:
    """The first held-out rows, read again from their sources."""
    origins = _origins(held_out)
    found: dict[tuple[int, int], Example] = {}
    for source in dict.fromkeys(source for source, _ in origins):
        wanted = frozenset(row for other, row in origins if other == source)
        for row, example in reader.examples(source, wanted).items():
            found[source, row] = example
    return [_sample(found[origin], rendering) for origin in origins]


def _origins(split: PreparedSplit) -> list[tuple[int, int]]:
    """(source, row) of the first rows; several rows of tokens may have one origin."""
    places = np.stack([split.source_files.astype(np.int64), split.source_rows])
    new = np.any(np.diff(places, axis=1, prepend=-1) != 0, axis=0)
    return [(int(source), int(row)) for source, row in places[:, new][:, :MAX_SAMPLES].T]


def _sample(example: Example, rendering: Rendering) -> SampleRow:
    match example:
        case Document(text):
            return _opening(text, rendering.vocabulary)
        case Feedback(conversation, _):
            return _last_answer(conversation, rendering.chat)
        case Prompt(conversation, answer):
            return SampleRow(
                prompt_messages=conversation.messages,
                prompt_text_rendered=rendering.chat.render_open(conversation).text,
                answer_reference=answer,
            )
        case Ranking(_, answers, _):
            return _last_answer(answers[0], rendering.chat)
        case Preference(_, chosen, _):
            return _last_answer(chosen, rendering.chat)
        case Conversation():
            return _last_answer(example, rendering.chat)


def _last_answer(conversation: Conversation, chat: Chat) -> SampleRow:
    turn = conversation.assistant_turns()[-1]
    prompt = conversation.messages[:turn]
    answer = conversation.messages[turn]
    text = answer["content"] or json.dumps(answer.get("tool_calls"), ensure_ascii=False)
    return SampleRow(
        prompt_messages=prompt,
        prompt_text_rendered=chat.render_prompt(prompt, conversation.tools),
        answer_reference=text,
    )


def _opening(text: str, vocabulary: Vocabulary) -> SampleRow:
    """The beginning of a document, up to the end of a word, and as much of what follows."""
    size = min(_OPENING, len(text) // 2)
    end = text.rfind(" ", 0, size + 1)
    end = end if end > 0 else size
    return SampleRow(
        prompt_messages=[],
        prompt_text_rendered=vocabulary.bos + text[:end],
        answer_reference=text[end : end + _OPENING].strip(),
    )
