"""Rows become the tokens that their method learns from."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.resolve import resolve
from finetune_api.spec import FineTuneJobSpec
from finetune_trainer.data.conversation import Conversation, Message
from finetune_trainer.data.document import Document
from finetune_trainer.data.faults import Fault, InvalidRow
from finetune_trainer.data.preference import Preference
from finetune_trainer.data.prompt import Prompt
from finetune_trainer.data.rendering import Example, Rendering, check_unit
from finetune_trainer.data.table import TokenRow
from tokenizers import processors

from tests.unit.api.spec_walk import ONLINE
from tests.unit.trainer.data.conftest import CHATML, INST, MARKED, make_tokenizer

ASK: list[Message] = [{"role": "user", "content": "What is the answer?"}]


def rendering_of(method: str, tokenizer: Any) -> Rendering:
    spec = {
        "method": method,
        "model": {"uri": "s3://m/m"},
        "data": {"train": [{"uri": "s3://d/d"}]},
        "output": {"uri": "s3://o/o"},
        **(ONLINE if method == "GRPO" else {}),
    }
    return Rendering(tokenizer, resolve(FineTuneJobSpec.parse_wire(spec)))


def pair(chosen: str, rejected: str) -> Preference:
    sides = [
        Conversation([*ASK, {"role": "assistant", "content": text}]) for text in (chosen, rejected)
    ]
    return Preference(ASK, *sides)


def prompt(*turns: Message, tools: list[dict[str, Any]] | None = None) -> Prompt:
    return Prompt(Conversation([*turns], tools), "")


def rows_of(rendering: Rendering, example: Example) -> list[TokenRow]:
    rows = rendering.encode(rendering.render(example).texts)
    check_unit(rows)
    return rows


def with_bos(tokenizer: Any) -> Any:
    """The tokenizer, beginning every text with <s> by itself."""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return tokenizer


@pytest.mark.parametrize("template", [MARKED, CHATML, INST, None])
def test_of_a_pair_the_answers_are_learnt_after_the_same_prompt(template: str | None) -> None:
    rendering = rendering_of("DPO", make_tokenizer(template))

    (chosen, chosen_spans), (rejected, rejected_spans) = rows_of(
        rendering, pair("Short.", "The long answer.")
    )

    (start, end), (other_start, other_end) = chosen_spans[0], rejected_spans[0]
    decode = rendering.vocabulary.decode
    assert len(chosen_spans) == len(rejected_spans) == 1
    assert chosen[:start] == rejected[:other_start]
    ends = ("<|im_end|>",) if template in (MARKED, CHATML) else ("</s>",)
    assert decode(chosen[start:end]).strip() == f"Short.{ends[0]}"
    assert decode(rejected[other_start:other_end]).strip() == f"The long answer.{ends[0]}"


def test_sides_that_the_template_makes_equal_are_no_pair() -> None:
    trimming = MARKED.replace("{{ message['content'] }}", "{{ message['content'] | trim }}")
    rendering = rendering_of("DPO", make_tokenizer(trimming))

    with pytest.raises(InvalidRow, match="the same text") as caught:
        rendering.render(pair("Short.", " Short."))

    assert caught.value.fault is Fault.PAIR


def test_an_answer_that_joins_the_prompts_last_token_is_refused() -> None:
    prompt = [5, 6, 7]
    rows: list[TokenRow] = [([*prompt, 8], [(3, 4)]), ([5, 6, 99, 8], [(3, 4)])]

    check_unit(rows[:1] * 2)
    with pytest.raises(InvalidRow, match="white space") as caught:
        check_unit(rows)

    assert caught.value.fault is Fault.PAIR


def test_a_side_without_a_learnt_token_is_refused() -> None:
    with pytest.raises(InvalidRow) as caught:
        check_unit([([5, 6], [(1, 2)]), ([5, 6], [])])

    assert caught.value.fault is Fault.NO_LABELS


def test_pairs_and_documents_are_grouped_by_prompt_and_text() -> None:
    pairs = rendering_of("DPO", make_tokenizer(CHATML))
    texts = rendering_of("CPT", make_tokenizer(CHATML))

    assert pairs.render(pair("a", "b")).group == pairs.render(pair("c", "d")).group
    groups = [texts.render(Document(text)).group for text in ("a", "a", "b")]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (CHATML, "<s><|im_start|>user\nWhat is the answer?<|im_end|>\n<|im_start|>assistant\n"),
        (MARKED, "<s><|im_start|>user\nWhat is the answer?<|im_end|>\n<|im_start|>assistant\n"),
        (INST, "<s>[INST] What is the answer? [/INST]"),
        (None, "### Instruction:\nWhat is the answer?\n\n### Response:\n"),
    ],
)
def test_a_prompt_ends_where_the_model_answers_and_teaches_nothing(
    template: str | None, text: str
) -> None:
    rendering = rendering_of("GRPO", make_tokenizer(template))

    ((tokens, spans),) = rendering.encode(rendering.render(prompt(*ASK)).texts)

    assert rendering.vocabulary.decode(tokens) == text
    assert spans == []


def test_prompts_are_grouped_by_all_of_their_turns() -> None:
    rendering = rendering_of("GRPO", make_tokenizer(CHATML))
    answered: list[Message] = [*ASK, {"role": "assistant", "content": "Short."}, *ASK]

    groups = [rendering.render(prompt(*turns)).group for turns in (ASK, ASK, answered)]

    assert groups[0] == groups[1] != groups[2]


def test_what_the_template_leaves_out_of_a_prompt_is_refused() -> None:
    silent = CHATML.replace("{{ message['content'] }}", "{{ message['content'] | upper }}")
    rendering = rendering_of("GRPO", make_tokenizer(silent))
    tools = [{"type": "function", "function": {"name": "look_up"}}]

    with pytest.raises(InvalidRow, match="leaves out or changes the text of turn 1"):
        rendering.render(prompt(*ASK))
    with pytest.raises(InvalidRow, match="takes no tools"):
        rendering.render(prompt(*ASK, tools=tools))


def test_a_document_ends_with_the_end_of_sequence_token_once() -> None:
    tokenizer = make_tokenizer(CHATML)
    rendering = rendering_of("CPT", tokenizer)

    for text in ("The answer is short.", "The answer is short.</s>"):
        ((tokens, spans),) = rows_of(rendering, Document(text))
        assert rendering.vocabulary.decode(tokens) == "The answer is short.</s>"
        assert spans == [(1, len(tokens))]


def test_a_document_begins_with_the_begin_token_only_where_the_tokenizer_adds_it() -> None:
    for tokenizer, first in (
        (make_tokenizer(None), "The"),
        (with_bos(make_tokenizer(None)), "<s>The"),
    ):
        rendering = rendering_of("CPT", tokenizer)
        ((tokens, _),) = rows_of(rendering, Document("The answer"))
        assert rendering.vocabulary.decode(tokens) == f"{first} answer</s>"


def test_documents_need_no_chat_template_and_publish_none() -> None:
    broken = CHATML.replace("<|im_start|>", "<|turn|>")
    rendering = rendering_of("CPT", make_tokenizer(broken))

    assert rendering.template is None
    assert rendering.published_template is None


@pytest.mark.parametrize(
    ("method", "said"),
    [("CPT", r"\(eos_token\), with which documents end"), ("GRPO", "the model's answers end")],
)
def test_a_tokenizer_that_cannot_end_what_is_learnt_is_refused(method: str, said: str) -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.eos_token = None

    with pytest.raises(UserError, match=said) as caught:
        rendering_of(method, tokenizer)

    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize("method", ["SFT", "CPT"])
def test_a_tokenizers_own_truncation_cuts_nothing(method: str) -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.backend_tokenizer.enable_truncation(3)
    rendering = rendering_of(method, tokenizer)
    answer: Message = {"role": "assistant", "content": "The answer is short."}
    example = Document("The answer is short.") if method == "CPT" else Conversation([*ASK, answer])

    ((tokens, _),) = rows_of(rendering, example)

    assert len(tokens) > 3
