"""What each check finds, and what each mode does with it."""

from pathlib import Path
from typing import Any

import pytest
from finetune_api.messages import PrepareMessage
from finetune_trainer.preparation.run import RefusedDataError

from tests.unit.trainer.prepare.conftest import World, learnt, prepared, report, text

ADDRESS = "jane.doe@acme-handels.de"
KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
SUBJECTS = (
    "the pump", "a valve", "our filter", "every hose", "that gauge", "the motor", "some bolt",
    "the shaft", "a clamp", "the tank",
)  # fmt: skip
ACTIONS = (
    "is cleaned with warm water", "needs oil after each shift", "was replaced last spring",
    "must never run without load", "hums when the bearing is worn", "is tested twice a year",
)  # fmt: skip


def rows(count: int = 30) -> list[dict[str, Any]]:
    """Rows that no check has anything against."""
    made = []
    for n in range(count):
        subject, action = SUBJECTS[n % len(SUBJECTS)], ACTIONS[n // len(SUBJECTS) % len(ACTIONS)]
        made.append(
            {
                "prompt": f"Tell me whether {subject} {action}, machine {n * 37}.",
                "completion": f"In the case of number {n * 37} {subject} {action} indeed.",
            }
        )
    return made


def unlike(count: int) -> list[dict[str, Any]]:
    """Rows that have no words in common."""
    return [
        row(" ".join(f"q{n}w{i}" for i in range(12)), " ".join(f"a{n}w{i}" for i in range(25)))
        for n in range(count)
    ]


def row(prompt: str, completion: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion}


FAULTS: dict[str, list[dict[str, Any]]] = {
    "secrets": [row("Which token do I use?", f"Use {KEY} for the registry.")],
    "personalData": [row(f"Who is {ADDRESS}?", f"Write to {ADDRESS} about it.")],
    "duplicates": [rows()[3], rows()[4]],
    "contradictions": [
        row("Is the door open?", "Yes, wide open."),
        row("Is the door open?", "No, it is locked."),
    ],
    "language": [
        row(
            "Wie reinigt man den Filter dieser Maschine am besten?",
            "Man reinigt ihn nach jeder Schicht mit warmem Wasser und einer weichen Bürste.",
        )
    ],
    "quality": [row("Go on.", "and then it went round and round and came back to the start " * 6)],
}
"""Rows in which a check finds something."""


def prepare(world: World, extra: list[dict[str, Any]], **checks: Any) -> PrepareMessage:
    uri = world.rows("rows.jsonl", [*rows(), *extra])
    return world.prepare(data={"train": [{"uri": uri, "license": "MIT"}], "checks": checks})


def found(message: PrepareMessage | RefusedDataError) -> dict[str, tuple[str, int]]:
    assert message.data is not None
    return {each.check: (each.mode, each.rows) for each in message.data.findings or []}


def units(message: PrepareMessage) -> int:
    data = prepared(message)
    return data.train.units + data.evaluation.units


def test_good_rows_give_no_finding(world: World) -> None:
    message = prepare(world, [])

    assert found(message) == {}
    assert units(message) == 30


@pytest.mark.parametrize("check", FAULTS)
def test_report_tells_and_keeps_the_rows(world: World, check: str) -> None:
    message = prepare(world, FAULTS[check], **{check: "Report"})

    assert found(message) == {check: ("Report", len(FAULTS[check]))}
    assert units(message) == 30 + len(FAULTS[check])
    (shown,) = report(message)["checks"]
    lines = list(range(31, 31 + len(FAULTS[check])))
    assert [error["row"] for error in shown["first"]] == lines


@pytest.mark.parametrize("check", FAULTS)
def test_drop_rows_leaves_them_out(world: World, check: str) -> None:
    asked: dict[str, Any] = {check: "DropRows"}
    if check == "language":
        asked["languages"] = ["en", "fr"]

    message = prepare(world, FAULTS[check], **asked)

    assert found(message) == {check: ("DropRows", len(FAULTS[check]))}
    assert units(message) == 30
    assert message.data is not None
    assert message.data.dropped == len(FAULTS[check])


@pytest.mark.parametrize("check", FAULTS)
def test_fail_ends_the_job_at_the_first_row(world: World, check: str) -> None:
    asked: dict[str, Any] = {check: "Fail"}
    if check == "language":
        asked["languages"] = ["en"]

    with pytest.raises(RefusedDataError, match=f"data.checks.{check}") as caught:
        prepare(world, FAULTS[check], **asked)

    assert caught.value.where == f"{(world.root / 'rows.jsonl').as_uri()}:31"
    assert found(caught.value) == {check: ("Fail", len(FAULTS[check]))}
    rows_told = [error.row for error in caught.value.data.first_errors or []]
    assert rows_told == list(range(31, 31 + len(FAULTS[check])))
    assert report(caught.value)["problem"] == str(caught.value)


@pytest.mark.parametrize("check", FAULTS)
def test_off_does_not_look(world: World, check: str) -> None:
    message = prepare(world, FAULTS[check], **{check: "Off"})

    assert check not in found(message)
    assert check in report(message)["checksOff"]
    assert units(message) == 30 + len(FAULTS[check])


def test_redact_puts_the_same_placeholder_for_the_same_value(world: World) -> None:
    extra = [*FAULTS["personalData"], row("Call whom?", f"{ADDRESS} or bob@acme-handels.de")]
    uri = world.rows("rows.jsonl", [*extra, *rows()])

    message = world.prepare(
        data={"train": [{"uri": uri}], "checks": {"personalData": "Redact"}},
        training={"sequenceLength": 512, "seed": 1},
    )

    assert found(message)["personalData"] == ("Redact", 2)
    shown = [unit["rows"][0] for unit in report(message)["samples"]]
    assert "Who is [EMAIL_1]?" in text(shown[0])
    assert "Write to [EMAIL_1] about it." in learnt(shown[0])[0]
    assert "[EMAIL_1] or [EMAIL_2]" in learnt(shown[1])[0]


def test_no_value_that_is_found_is_ever_told(world: World) -> None:
    everything = FAULTS["secrets"] + FAULTS["personalData"] * 3

    with pytest.raises(RefusedDataError) as caught:
        prepare(world, everything)

    pages = [p.read_text() for p in world.output.rglob("data-report.*")]
    assert len(pages) == 2
    data = caught.value.data.model_dump_json()
    # The rows themselves are shown as samples, and these are the first of the file.
    for said in (str(caught.value), data, *pages, *world.said):
        assert KEY not in said
        assert ADDRESS not in said


LEAKED = row(
    "How do I change the fuse of the heater in the second cabinet from the left of the door?",
    "Switch the mains off, open the cabinet and change the fuse.",
)
LONG = row(
    "Explain this mail: hello, I wanted to ask you. " + str(LEAKED["prompt"]) + " Thank you a lot!",
    "The sender asks about a fuse.",
)


@pytest.mark.parametrize("leak", [LEAKED, LONG])
def test_a_training_row_that_holds_an_evaluation_row_ends_the_job(
    world: World, leak: dict[str, Any]
) -> None:
    evaluation = [{"uri": world.rows("dev.jsonl", [row("Why?", "Because."), LEAKED])}]
    uri = world.rows("rows.jsonl", [*rows(), leak])

    def run(**checks: Any) -> PrepareMessage:
        data = {"train": [{"uri": uri}], "evaluation": evaluation, "checks": checks}
        return world.prepare(data=data)

    with pytest.raises(RefusedDataError, match=r"evaluation row .*dev.jsonl:2") as caught:
        run()
    assert caught.value.where == f"{uri}:31"

    dropped = prepared(run(leakage="DropRows"))
    assert (dropped.train.units, dropped.evaluation.units) == (30, 2)
    assert prepared(run(leakage="Report")).train.units == 31


def test_a_system_turn_that_rows_share_gives_no_evaluation_row_away(world: World) -> None:
    system = "You are the assistant of a workshop. Answer in one sentence, and name the part. " * 3
    talks = []
    for each in unlike(30):
        asked = {"role": "user", "content": each["prompt"]}
        answered = {"role": "assistant", "content": each["completion"]}
        talks.append({"messages": [asked, answered], "system": system})
    train, dev = world.rows("rows.jsonl", talks[:26]), world.rows("dev.jsonl", talks[26:])

    message = world.prepare(data={"train": [{"uri": train}], "evaluation": [{"uri": dev}]})

    assert "leakage" not in found(message)


def test_held_out_rows_do_not_stand_among_the_training_rows(world: World) -> None:
    """Most rows have a near twin: a twin is held out only where the other is, too."""
    alike = [
        row(f"{each['prompt']} {word}", f"{each['completion']} {word}")
        for each in unlike(60)[:50]
        for word in ("Please answer at length and with all details", "Please answer")
    ]
    uri = world.rows("rows.jsonl", [*unlike(60)[50:], *alike])
    data: dict[str, Any] = {"train": [{"uri": uri}], "evaluationFraction": "0.2"}

    def twins(message: PrepareMessage) -> int:
        made = prepared(message)
        trained = {(int(n) - 11) // 2 for n in made.train.source_rows if n > 10}
        return sum((int(n) - 11) // 2 in trained for n in made.evaluation.source_rows if n > 10)

    assert twins(world.prepare(data={**data, "checks": {"leakage": "Off"}})) > 5
    kept_apart = world.prepare(data=data)
    assert prepared(kept_apart).evaluation.units > 5
    assert twins(kept_apart) == 0


def test_rows_of_a_group_stay_on_one_side(world: World) -> None:
    grouped = [{**each, "customer": f"c{n % 6}"} for n, each in enumerate(rows(60))]
    uri = world.rows("rows.jsonl", grouped)

    message = world.prepare(
        data={
            "train": [{"uri": uri, "fields": {"prompt": "prompt"}}],
            "groupBy": "customer",
            "evaluationFraction": "0.4",
        }
    )

    made = prepared(message)
    train, held_out = (
        {int(n - 1) % 6 for n in s.source_rows} for s in (made.train, made.evaluation)
    )
    assert held_out
    assert not train & held_out


def test_a_row_without_its_group_is_invalid(world: World) -> None:
    with pytest.raises(RefusedDataError, match="by which rows are grouped"):
        world.prepare(
            data={"train": [{"uri": world.rows("rows.jsonl", rows())}], "groupBy": "customer"}
        )


def test_too_long_rows_fail_where_none_is_allowed(world: World) -> None:
    with pytest.raises(RefusedDataError, match=r"none is allowed \(data.checks.tooLong\)"):
        prepare(world, [row("Count.", "one " * 600)], tooLong="Fail")


@pytest.mark.parametrize(
    ("licence", "kind"),
    [(None, "NoLicense"), ("cc-by-nc-4.0", "CC-BY-NC-4.0"), ("my own", "LicenseRef-my-own")],
)
def test_a_licence_that_asks_for_a_decision_is_told(
    world: World, licence: str | None, kind: str
) -> None:
    uri = world.rows("rows.jsonl", rows())
    source = {"uri": uri, "license": licence} if licence else {"uri": uri}

    message = world.prepare(data={"train": [source]})
    with pytest.raises(RefusedDataError, match=r"data.checks.license") as caught:
        world.prepare(data={"train": [source], "checks": {"license": "Fail"}})

    assert found(message) == {"license": ("Report", 1)}
    assert report(message)["checks"][0]["kinds"] == {kind: 1}
    assert caught.value.where == uri


def test_nearly_equal_sides_of_a_pair_are_told(world: World) -> None:
    pairs = [
        {"prompt": each["prompt"], "chosen": each["completion"], "rejected": f"No idea about {n}."}
        for n, each in enumerate(rows())
    ]
    pairs[4]["rejected"] = pairs[4]["chosen"] + " Yes."
    uri = world.rows("rows.jsonl", pairs)

    message = world.prepare(method="DPO", data={"train": [{"uri": uri, "license": "MIT"}]})

    (quality,) = report(message)["checks"]
    assert (quality["kinds"], quality["first"][0]["row"]) == ({"SidesNearlySame": 1}, 5)


@pytest.mark.parametrize("method", ["DPO", "KTO", "Reward"])
def test_rows_of_many_units_that_are_all_dropped_are_counted_as_rows(
    world: World, method: str
) -> None:
    rankings = [
        {
            "prompt": f"{each['prompt']} Ask {ADDRESS}.",
            "responses": [f"{each['completion']} {word}" for word in ("Yes.", "No.", "Perhaps.")],
            "scores": [3, 2, 1],
        }
        for each in rows(10)
    ]
    if method == "KTO":
        rankings = [
            {"prompt": each["prompt"], "chosen": "This.", "rejected": "That."} for each in rankings
        ]
    uri = world.rows("rows.jsonl", rankings)

    checks = {"personalData": "DropRows", "duplicates": "Off"}
    data = {"train": [{"uri": uri}], "checks": checks}

    with pytest.raises(RefusedDataError, match="no training row is left") as caught:
        world.prepare(method=method, data=data)

    assert (caught.value.data.rows, caught.value.data.dropped) == (0, 10)


def test_evaluation_rows_of_another_format_are_refused_with_a_report(world: World) -> None:
    evaluation = [{"uri": world.rows("dev.jsonl", [{"foo": "bar"}])}]
    data = {"train": [{"uri": world.rows("rows.jsonl", rows())}], "evaluation": evaluation}

    with pytest.raises(RefusedDataError, match="the rows' shape is unknown") as caught:
        world.prepare(data=data)

    assert caught.value.where == evaluation[0]["uri"]
    assert report(caught.value)["problem"]


def test_relevance_is_measured_against_the_domain(world: World) -> None:
    domain = world.root / "manual.md"
    domain.write_text("# Pump\n\n" + "\n\n".join(str(each["completion"]) for each in rows(40)))
    far = row("Recite a poem.", "Shall I compare thee to a summer's day? Thou art more lovely.")
    uri = world.rows("rows.jsonl", [*rows(), far])

    message = world.prepare(
        data={"train": [{"uri": uri}], "domainText": [{"uri": domain.as_uri()}]}
    )

    made = report(message)
    assert sum(made["relevance"]) == 31
    assert made["irrelevant"][0]["row"] == 31


def test_a_report_goes_to_a_page_beside_it(world: World) -> None:
    message = prepare(world, [])

    assert message.data is not None
    assert message.data.report_uri is not None
    page = Path(message.data.report_uri.removeprefix("file://"))
    assert page.read_text().startswith("<!doctype html>")
