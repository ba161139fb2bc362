"""What the API accepts takes effect: two values of every field, and what differs between them.

A field that has no entry in `table/` fails here with its name, and so does an entry whose values
do the same. Each observation comes from the code that reads the field.
"""

from itertools import combinations
from typing import Any

import pytest
from finetune_api.spec import FineTuneJobSpec
from pydantic import ValidationError

from tests.unit.api.spec_walk import leaves, with_value
from tests.unit.fields.bench import Bench, document
from tests.unit.fields.entry import Effect, Observe, Refusal
from tests.unit.fields.table.whole import PARTS, TABLE

FIELDS = [".".join(leaf.path) for leaf in leaves(FineTuneJobSpec)]
OBSERVATIONS: dict[Observe, str] = {
    observe: name
    for name, entry in TABLE.items()
    if isinstance(entry, Effect)
    for observe in entry.observed
}
"""Each with a field that it is made of."""


def spec_with(bench: Bench, name: str, value: Any) -> FineTuneJobSpec:
    """The spec of the field's entry, with `value` in the field."""
    made = document(TABLE[name].within)
    if value is not None:
        made = with_value(tuple(name.split(".")), value, made)
    return bench.spec(made)


def seen(bench: Bench, name: str, value: Any, observe: Observe) -> object:
    """What is observed of the field with `value`, with nothing left of observations before."""
    bench.emptied()
    return observe(bench, spec_with(bench, name, value))


@pytest.mark.parametrize("name", FIELDS)
def test_values_of_a_field_differ_in_what_they_do(bench: Bench, name: str) -> None:
    if name not in TABLE:
        pytest.fail(f"the API accepts {name} and no entry in table/ says what it does")
    entry = TABLE[name]
    if isinstance(entry, Refusal):
        spec_with(bench, name, entry.accepted)
        with pytest.raises(ValidationError, match=entry.sentence):
            spec_with(bench, name, entry.refused)
        return
    for observe in entry.observed:
        found = [seen(bench, name, value, observe) for value in entry.values]
        for one, other in combinations(range(len(found)), 2):
            values = f"{entry.values[one]!r} and {entry.values[other]!r}"
            assert found[one] != found[other], f"{observe.__name__} is the same of {values}"


@pytest.mark.parametrize(("observe", "name"), OBSERVATIONS.items())
def test_an_observation_is_the_same_of_the_same_spec(
    bench: Bench, observe: Observe, name: str
) -> None:
    entry = TABLE[name]
    assert isinstance(entry, Effect)
    first, again = (seen(bench, name, entry.values[0], observe) for _ in range(2))
    assert first == again


def test_the_table_names_each_field_once_and_none_that_is_gone() -> None:
    names = [name for part in PARTS for name in part]
    assert len(names) == len(set(names))
    assert set(names) <= set(FIELDS)
