"""The loss is taken on what the assistant wrote and on nothing else, or the row is refused."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import LossOn
from finetune_trainer.data.chat import Chat
from finetune_trainer.data.conversation import Conversation
from finetune_trainer.data.faults import Fault, InvalidRow

from tests.unit.trainer.data.conftest import CHATML, INST, MARKED, ROLLING, THINKING, ChatMaker

TWO_TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "What is é?"},
    {"role": "assistant", "content": "The answer."},
    {"role": "user", "content": "What?"},
    {"role": "assistant", "content": " Short. "},
]
CALL: dict[str, Any] = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


def learnt(chat: Chat, messages: list[dict[str, Any]], **options: Any) -> list[str]:
    """The label spans of a conversation, decoded."""
    rendered = chat.render(Conversation(messages, **options))
    ((tokens, spans),) = chat.encode([rendered])
    return [chat.vocabulary.decode(tokens[start:end]) for start, end in spans]


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("template", [MARKED, CHATML])
def test_answers_and_their_end_of_turn_are_learnt(
    make_chat: ChatMaker, template: str, trim: bool
) -> None:
    chat = make_chat(template, trim=trim)

    assert learnt(chat, TWO_TURNS) == ["The answer.<|im_end|>", " Short. <|im_end|>"]


def test_without_a_generation_prompt_the_answer_follows_the_question(make_chat: ChatMaker) -> None:
    assert learnt(make_chat(INST), TWO_TURNS) == [" The answer.</s>", "  Short. </s>"]


def test_end_of_turn_is_learnt_also_when_it_is_the_padding_token(make_chat: ChatMaker) -> None:
    chat = make_chat(INST, pad_token="</s>")

    assert learnt(chat, TWO_TURNS[:2]) == [" The answer.</s>"]


def test_an_answer_rendered_in_another_way_later_is_still_found(make_chat: ChatMaker) -> None:
    assert learnt(make_chat(THINKING), TWO_TURNS) == [
        "The answer.<|im_end|>",
        "<think>\n\n</think>\n\n Short. <|im_end|>",
    ]


def test_a_mask_that_cannot_be_verified_is_refused_with_the_turn(make_chat: ChatMaker) -> None:
    with pytest.raises(InvalidRow, match="turn 2 cannot be told") as caught:
        make_chat(ROLLING).render(Conversation(TWO_TURNS))

    assert caught.value.fault is Fault.MASK


def test_marks_around_some_turns_only_are_refused(make_chat: ChatMaker) -> None:
    template = MARKED.replace(
        "{% generation %}{{ message['content'] }}{% endgeneration %}",
        "{% if loop.last %}{% generation %}{{ message['content'] }}{% endgeneration %}"
        "{% else %}{{ message['content'] }}{% endif %}",
    )

    with pytest.raises(InvalidRow, match="marks 1 of 2"):
        make_chat(template).render(Conversation(TWO_TURNS))


def test_a_turn_of_weight_zero_is_read_and_not_learnt(make_chat: ChatMaker) -> None:
    for template in (MARKED, CHATML):
        assert learnt(make_chat(template), TWO_TURNS, unweighted=frozenset({1})) == [
            " Short. <|im_end|>"
        ]


@pytest.mark.parametrize("template", [MARKED, CHATML])
def test_the_loss_may_be_taken_on_the_last_turn_or_on_everything(
    make_chat: ChatMaker, template: str
) -> None:
    chat = make_chat(template)
    conversation = Conversation(TWO_TURNS)

    last = chat.render(conversation, LossOn.LAST_TURN)
    whole = chat.render(conversation, LossOn.ALL)

    ((tokens, spans),) = chat.encode([last])
    assert [chat.vocabulary.decode(tokens[a:b]) for a, b in spans] == [" Short. <|im_end|>"]
    ((tokens, spans),) = chat.encode([whole])
    assert spans == [(1, len(tokens))]


def test_a_last_turn_of_weight_zero_leaves_the_loss_to_the_one_before(
    make_chat: ChatMaker,
) -> None:
    chat = make_chat(CHATML)
    conversation = Conversation(TWO_TURNS, unweighted=frozenset({3}))

    ((tokens, spans),) = chat.encode([chat.render(conversation, LossOn.LAST_TURN)])

    assert [chat.vocabulary.decode(tokens[a:b]) for a, b in spans] == ["The answer.<|im_end|>"]


def test_learning_everything_needs_no_mask(make_chat: ChatMaker) -> None:
    chat = make_chat(ROLLING)

    assert chat.render(Conversation(TWO_TURNS), LossOn.ALL).text.startswith("4user: What is")


def test_the_begin_token_stands_once(make_chat: ChatMaker) -> None:
    chat = make_chat(CHATML)

    ((tokens, _),) = chat.encode([chat.render(Conversation(TWO_TURNS))])

    assert chat.vocabulary.decode(tokens).count("<s>") == 1
    assert chat.vocabulary.decode(tokens[:1]) == "<s>"


def test_a_batch_gives_what_single_rows_give(make_chat: ChatMaker) -> None:
    chat = make_chat(CHATML)
    rows = [chat.render(Conversation(TWO_TURNS)), chat.render(Conversation(TWO_TURNS[:2]))]

    assert chat.encode(rows) == [chat.encode([row])[0] for row in rows]


def test_the_templates_own_words_are_shown_and_no_values(make_chat: ChatMaker) -> None:
    with pytest.raises(InvalidRow, match="Roles must alternate user/assistant"):
        make_chat(INST).render(Conversation(TWO_TURNS[1:]))
    speaking = INST.replace("'Roles must alternate user/assistant'", "messages[0]['content']")
    with pytest.raises(InvalidRow) as caught:
        make_chat(speaking).render(Conversation(TWO_TURNS[1:]))
    assert "answer" not in caught.value.message


def test_a_template_that_drops_a_turn_is_noticed(make_chat: ChatMaker) -> None:
    template = "{% for m in messages %}{% if m['role'] != 'system' %}" + (
        "{{ m['role'] + ': ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    )
    system = {"role": "system", "content": "Be brief"}

    with pytest.raises(InvalidRow, match="text of turn 1"):
        make_chat(template).render(Conversation([system, *TWO_TURNS]))


def test_tools_are_refused_where_the_template_would_ignore_them(make_chat: ChatMaker) -> None:
    calling: list[dict[str, Any]] = [
        TWO_TURNS[0],
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ]
    chat = make_chat(CHATML)

    with pytest.raises(InvalidRow, match="no tool calls"):
        chat.render(Conversation(calling))
    with pytest.raises(InvalidRow, match="takes no tools"):
        chat.render(Conversation(TWO_TURNS, tools=[CALL]))


def test_a_marker_that_is_not_one_token_is_an_error_of_the_model(make_chat: ChatMaker) -> None:
    with pytest.raises(UserError, match=r"<\|turn\|> is not one token") as caught:
        make_chat(CHATML.replace("<|im_start|>", "<|turn|>"))

    assert caught.value.reason is Reason.MODEL_INVALID


def test_without_a_template_a_plain_one_is_used_and_handed_on(make_chat: ChatMaker) -> None:
    chat = make_chat(None)
    calling: list[dict[str, Any]] = [
        *TWO_TURNS[:1],
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "42"},
        *TWO_TURNS[1:2],
    ]

    rendered = chat.render(Conversation(calling, tools=[CALL]))

    assert chat.published_template is not None
    assert rendered.text.startswith("### Tools:\n")
    assert rendered.text.endswith("### Observation:\n42\n\n### Response:\nThe answer.</s>")
    assert learnt(chat, calling, tools=[CALL]) == [
        '{"name": "f", "arguments": {"x": 1}}</s>',
        "The answer.</s>",
    ]


@pytest.mark.parametrize("template", [None, CHATML, MARKED, INST])
def test_the_prompt_of_generation_is_how_training_began(
    make_chat: ChatMaker, template: str | None
) -> None:
    chat = make_chat(template)

    whole = chat.render(Conversation(TWO_TURNS[:2])).text

    assert whole.startswith(chat.render_prompt(TWO_TURNS[:1], None))


def test_text_that_spells_a_special_token_is_noticed(make_chat: ChatMaker) -> None:
    chat = make_chat(CHATML)
    spelled = [{"role": "user", "content": "a <|im_end|> b"}, TWO_TURNS[1]]

    assert chat.holds_special_text(Conversation(spelled))
    assert not chat.holds_special_text(Conversation(TWO_TURNS))
