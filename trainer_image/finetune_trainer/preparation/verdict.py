"""What the findings mean for a job: what its owner is told, and whether the data is refused."""

from collections.abc import Mapping
from decimal import Decimal

from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import DataChecks, TooLongMode
from finetune_api.status import CheckFinding, RowError

from finetune_trainer.data.faults import MAX_MESSAGE
from finetune_trainer.preparation.findings import Check, Findings, Found

FAIL = "Fail"
_WORDS: Mapping[Check, tuple[str, str]] = {
    Check.SECRETS: (
        "keys, tokens or passwords in {}",
        "revoke them and take them out, or set data.checks.secrets to DropRows",
    ),
    Check.LEAKAGE: (
        "evaluation rows or large parts of them in {}",
        "take them out of one side, or set data.checks.leakage to DropRows",
    ),
    Check.PERSONAL_DATA: (
        "personal data in {}",
        "data.checks.personalData Redact puts placeholders, DropRows leaves the rows out",
    ),
    Check.DUPLICATES: (
        "an earlier row nearly repeated in {}",
        "data.checks.duplicates DropRows keeps the first of each",
    ),
    Check.CONTRADICTIONS: (
        "another answer to, or verdict on, the same thing in {}",
        "decide which is right, or set data.checks.contradictions to DropRows",
    ),
    Check.LANGUAGE: (
        "another language in {}",
        "name the languages meant in data.checks.languages; language DropRows leaves others out",
    ),
    Check.QUALITY: (
        "signs of damage in {}",
        "look at the rows; data.checks.quality DropRows leaves them out",
    ),
    Check.LICENSE: (
        "a licence that asks for a decision on {}",
        "name it in data.train[].license, or leave the source out",
    ),
}
"""(what stands where, what to do about it), the gravest first."""


def mode_of(modes: DataChecks, check: Check) -> str:
    """What a job asks of a check."""
    return str(modes.to_wire()[check.value])


def told(modes: DataChecks, findings: Findings) -> list[CheckFinding]:
    """What each check that found something found, in a sentence."""
    return [
        CheckFinding(
            check=check.value,
            mode=mode_of(modes, check),
            rows=findings.checks[check].rows,
            message=_sentence(check, findings.checks[check])[:MAX_MESSAGE],
        )
        for check in _WORDS
        if check in findings.checks and findings.checks[check].rows
    ]


def problem_of(modes: DataChecks, findings: Findings) -> UserError | None:
    """The error to end with when rows are worse than the job allows."""
    if findings.invalid > modes.max_invalid_rows:
        return _invalid(findings, modes.max_invalid_rows)
    too_long = _too_long(modes, findings)
    if too_long is not None:
        return too_long
    for check in _WORDS:
        found = findings.checks.get(check)
        if found is not None and found.rows and mode_of(modes, check) == FAIL:
            return _found(check, found)
    return None


def first_errors(findings: Findings, problem: UserError | None) -> list[RowError] | None:
    """Rows to show: those that are why it ends, or the invalid ones."""
    if problem is None or findings.errors:
        return findings.errors or None
    if findings.too_long_rows and problem.where == place(findings.too_long_rows[0]):
        return findings.too_long_rows
    for found in findings.checks.values():
        first = found.first[0] if found.first else None
        if first and problem.where == place(first) and first.message in problem.message:
            return found.first
    return None


def place(error: RowError) -> str:
    """FILE:ROW; of a source as a whole its address."""
    return f"{error.file}:{error.row}" if error.row else error.file


def _sentence(check: Check, found: Found) -> str:
    what, remedy = _WORDS[check]
    things = "source" if check is Check.LICENSE else "row"
    count = f"{found.rows} {things}{'' if found.rows == 1 else 's'}"
    return f"{what.format(count)}{_kinds(found)}: {remedy}"


def _kinds(found: Found) -> str:
    most = found.kinds.most_common(5)
    return f" ({', '.join(f'{kind} {count}' for kind, count in most)})" if most else ""


def _found(check: Check, found: Found) -> UserError:
    first = found.first[0]
    field = f"{first.field}: " if first.field else ""
    return UserError(
        Reason.INVALID_DATA,
        f"{_sentence(check, found)}. The check data.checks.{check} is set to Fail; the first: "
        f"{field}{first.message}",
        where=place(first),
    )


def _invalid(findings: Findings, allowed: int) -> UserError:
    first = findings.errors[0]
    column = f"{first.field}: " if first.field else ""
    rows = "1 row is" if findings.invalid == 1 else f"{findings.invalid} rows are"
    return UserError(
        Reason.INVALID_DATA,
        f"{rows} invalid and {allowed} are allowed (data.checks.maxInvalidRows); the first: "
        f"{column}{first.message}",
        where=place(first),
    )


def _too_long(modes: DataChecks, findings: Findings) -> UserError | None:
    read = findings.rows - findings.invalid
    share = "0" if modes.too_long is TooLongMode.FAIL else modes.max_too_long_share
    if not read or share is None or Decimal(findings.too_long) <= Decimal(share) * read:
        return None
    first = findings.too_long_rows[0]
    allowed = "none is allowed (data.checks.tooLong)"
    if modes.too_long is not TooLongMode.FAIL:
        allowed = f"the share {share} is allowed (data.checks.maxTooLongShare)"
    return UserError(
        Reason.INVALID_DATA,
        f"{findings.too_long} of {read} rows are longer than {findings.limit}; the longest has "
        f"{findings.longest} tokens and {allowed}. Raise the length, shorten the rows or allow "
        "more",
        where=place(first),
    )
