"""The tables of docs/data.md are those of the code."""

import re
from enum import StrEnum
from pathlib import Path

from finetune_api.spec import FORMATS_OF, DataChecks, RowFormat
from finetune_trainer.preparation.findings import Check
from finetune_trainer.preparation.report import DataReport

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


def table(header: str) -> list[list[str]]:
    """The cells of the rows below a header; | within code is no border."""
    _, _, rest = PAGE.partition(f"{header}\n")
    lines = rest.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_every_check_stands_there_with_its_modes_and_its_default() -> None:
    rows = table("| check | what it finds | what it does not | default | modes |")
    stated = {row[0].strip("`"): (row[-2], row[-1].split(", ")) for row in rows}
    defaults = DataChecks().to_wire()
    modes = {
        str(DataChecks.model_fields[name].alias): [mode.value for mode in type(default)]
        for name, default in DataChecks()
        if isinstance(default, StrEnum)
    }
    assert stated == {name: (defaults[name], found) for name, found in modes.items()}
    assert {check.value for check in Check} <= stated.keys()


def test_every_format_of_rows_stands_there_with_the_methods_that_take_it() -> None:
    stated = {row[0]: row[-1].split(", ") for row in table("| format | columns | methods |")}
    for form in set(RowFormat) - {RowFormat.AUTO, RowFormat.DOCUMENT}:
        takes = [method.value for method, formats in FORMATS_OF.items() if form in formats]
        assert sorted(stated[form.value]) == sorted(takes)


def test_every_field_of_the_report_stands_there() -> None:
    rows = table("| in `report.json` | says |")
    stated = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    fields = {field.alias for field in DataReport.model_fields.values()}
    assert stated == fields - {"version"}
