"""The closed vocabulary of field types that the resource types are written in.

Whatever stands here has one Python meaning (pydantic) and one structural-schema meaning
(`finetune_api.crd`); a type outside it makes the emitter raise.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

DECIMAL_PATTERN = r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]+)?$"


@dataclass(frozen=True)
class Rule:
    """A rule over one object: a CEL expression for the API server and its Python twin.

    `cel` sees the object as `self`; `holds` gets the pydantic model. `message` says what to
    write instead. Both must give the same verdict on every object.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class DecimalRange:
    """Bounds of a decimal string, in its own unit."""

    minimum: str | None = None
    above: str | None = None
    maximum: str | None = None
    below: str | None = None

    def terms(self) -> list[tuple[str, str]]:
        """(comparison operator, bound) pairs that a value must satisfy."""
        pairs = [
            (">=", self.minimum),
            (">", self.above),
            ("<=", self.maximum),
            ("<", self.below),
        ]
        return [(operator, bound) for operator, bound in pairs if bound is not None]

    def sentence(self) -> str:
        """The bounds in words, for the message of a refusal."""
        terms = " and ".join(f"{operator} {bound}" for operator, bound in self.terms())
        return f'must be a decimal string {terms}, for example "0.1"'

    def check(self, text: str) -> str:
        """Return `text`, or raise ValueError when it lies outside the bounds.

        Compared as doubles, as CEL does, so that both give one verdict on "1e-400".
        """
        value = float(text)
        verdicts = {
            ">=": lambda bound: value >= bound,
            ">": lambda bound: value > bound,
            "<=": lambda bound: value <= bound,
            "<": lambda bound: value < bound,
        }
        for operator, bound in self.terms():
            if not verdicts[operator](float(bound)):
                raise ValueError(self.sentence())
        return text


def decimal_string(bounds: DecimalRange) -> Any:
    """A decimal string within `bounds`: exact in YAML, JSON, hashes and CEL, unlike a float."""
    return Annotated[
        str,
        Field(max_length=24, pattern=DECIMAL_PATTERN),
        bounds,
        AfterValidator(bounds.check),
    ]


DecimalPositive = decimal_string(DecimalRange(above="0", maximum="1e9"))
DecimalNonNegative = decimal_string(DecimalRange(minimum="0", maximum="1e9"))
DecimalShare = decimal_string(DecimalRange(minimum="0", maximum="1"))
DecimalOpenShare = decimal_string(DecimalRange(above="0", below="1"))
DecimalPositiveShare = decimal_string(DecimalRange(above="0", maximum="1"))
DecimalBelowHalf = decimal_string(DecimalRange(minimum="0", below="0.5"))
DecimalBelowOne = decimal_string(DecimalRange(minimum="0", below="1"))


def _whole_number_as_text(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole else value


@dataclass(frozen=True)
class IntOrString:
    """Marks a string that may be written as a bare whole number."""


Quantity = Annotated[
    str,
    Field(max_length=32, pattern=QUANTITY_PATTERN),
    BeforeValidator(_whole_number_as_text),
    IntOrString(),
]
"""A Kubernetes quantity such as `500m`, `16Gi` or `8`; a bare 8 works too, as in a Pod."""

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""The name of a Kubernetes object."""

ShortText = Annotated[str, Field(min_length=1, max_length=256)]
LongText = Annotated[str, Field(max_length=4096)]
LanguageCode = Annotated[str, Field(min_length=2, max_length=3, pattern=r"^[a-z]{2,3}$")]
"""ISO 639-1, such as `en`; a few languages have three letters only."""


@dataclass(frozen=True)
class OpaqueMark:
    """Marks an object whose schema is Kubernetes' own."""


Opaque = Annotated[dict[str, Any], OpaqueMark()]
"""A pod part that only the API server validates, when the child is made."""


@dataclass(frozen=True)
class Recipe:
    """Marks a field that changes the result and so belongs to the recipe hash."""


RECIPE = Recipe()


_ACRONYMS = {"uri": "URI", "uids": "UIDs", "sha256": "SHA256"}


def wire_name(name: str) -> str:
    """The camelCase name of a field, with Kubernetes' spelling of acronyms: report_uri is
    reportURI."""
    first, *rest = name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


class ApiModel(BaseModel):
    """Base of every type that crosses a process boundary.

    Python names are snake_case, wire names camelCase. Unknown fields are refused. A class's
    `RULES` hold everywhere, its `CLUSTER_RULES` only where the job runs on a cluster.
    """

    model_config = ConfigDict(
        alias_generator=wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    CLUSTER_RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        broken = [rule.message for rule in self.RULES if not rule.holds(self)]
        if broken:
            raise ValueError("; ".join(broken))
        return self

    @classmethod
    def parse_wire(cls, document: object) -> Self:
        """Read wire JSON as strictly as the API server does: camelCase names, no coercion.

        Raises pydantic.ValidationError.
        """
        return cls.model_validate_json(
            json.dumps(document), strict=True, by_alias=True, by_name=False
        )

    @classmethod
    def read_wire(cls, document: object) -> Self:
        """Read wire JSON that a newer version may have written: unknown fields are left out.

        Raises pydantic.ValidationError.
        """
        return cls.model_validate_json(
            json.dumps(document), strict=True, by_alias=True, by_name=False, extra="ignore"
        )

    def to_wire(self) -> dict[str, Any]:
        """The object as JSON types with camelCase names; absent fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)$")
_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{s}i": Decimal(1024) ** power for power, s in enumerate("KMGTPE", start=1)},
}


def quantity_value(quantity: str) -> Decimal:
    """The number that a Kubernetes quantity stands for: "500m" is 0.5, "1Ki" is 1024."""
    match = _QUANTITY.match(quantity)
    if match and match[2] in _SUFFIXES:
        return Decimal(match[1]) * _SUFFIXES[match[2]]
    return Decimal(quantity)
