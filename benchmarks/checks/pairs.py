"""Units that repeat others, and questions of an evaluation inside training data."""

from dataclasses import dataclass
from random import Random

from benchmarks.checks.prose import words

Unit = tuple[str, str]
SIMILAR = 0.8
_TEMPLATE = (
    "You are the assistant of a machine works. Answer in one sentence and stay polite. Question:"
)


def shingles(text: str) -> set[tuple[str, ...]]:
    """Windows of 5 words; of a text under 20 words, of 5 characters. The definition measured."""
    parts = text.lower().split()
    items: list[str] = parts if len(parts) >= 20 else list(" ".join(parts))
    size = min(5, len(items))
    return {tuple(items[i : i + size]) for i in range(len(items) - size + 1)}


def similarity(one: str, other: str) -> float:
    """Jaccard similarity, by sets of tuples: slow, and without hashes."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a or b else 1.0


@dataclass(frozen=True)
class DuplicateCorpus:
    """Units with some that repeat earlier ones."""

    units: list[Unit]
    expected: dict[int, int]
    """Unit -> the one that it was made from, both parts similar by .8 or more."""
    distinct: set[int]
    """Units that repeat none, though their template, prompt or answer stands elsewhere."""


def duplicate_corpus(random: Random, rows: int) -> DuplicateCorpus:
    """A tenth edited copies (down to .8), a fifth decoys of one template, prompt or answer."""
    units: list[Unit] = []
    expected: dict[int, int] = {}
    distinct: set[int] = set()
    while len(units) < rows:
        draw = random.random()
        if draw < 0.1 and distinct:
            source = (
                random.choice(sorted(distinct))
                if len(distinct) < 200
                else _any(random, units, expected)
            )
            copy = _edited(random, units[source])
            if source not in expected and _similar(copy, units[source]):
                expected[len(units)] = source
                units.append(copy)
            continue
        distinct.add(len(units))
        units.append(_distinct(random, units, draw))
    return DuplicateCorpus(units, expected, distinct)


def _any(random: Random, units: list[Unit], expected: dict[int, int]) -> int:
    while (chosen := random.randrange(len(units))) in expected:
        pass
    return chosen


def _distinct(random: Random, units: list[Unit], draw: float) -> Unit:
    """A unit whose prompt or answer is its own, at least."""
    prompt = " ".join(words(random, random.randint(6, 40)))
    answer = " ".join(words(random, random.randint(3, 90)))
    if draw < 0.2:
        return f"{_TEMPLATE} {prompt}", answer
    if draw < 0.25 and units:
        return random.choice(units)[0], " ".join(words(random, random.randint(10, 60)))
    if draw < 0.3:
        return prompt, random.choice(["Yes.", "No.", "I do not know.", "Positive"])
    return prompt, answer


def _similar(one: Unit, other: Unit) -> bool:
    return all(similarity(a, b) >= SIMILAR for a, b in zip(one, other, strict=True))


def _edited(random: Random, unit: Unit) -> Unit:
    """A copy with words changed, taken out or put in, or only its case and marks changed."""
    return _edited_part(random, unit[0]), _edited_part(random, unit[1])


def _edited_part(random: Random, text: str) -> str:
    parts = text.split()
    for _ in range(random.choice([0, 0, 1, 1, 2, len(parts) // 40])):
        place = random.randrange(len(parts))
        match random.randrange(4):
            case 0:
                parts[place] = words(random, 1)[0]
            case 1 if len(parts) > 3:
                del parts[place]
            case 2:
                parts.insert(place, words(random, 1)[0])
            case _:
                parts[place] = parts[place].upper()
    return random.choice(["", " "]).join((" ".join(parts), ""))


@dataclass(frozen=True)
class LeakCorpus:
    """Training units, an evaluation, and which training unit holds which question."""

    train: list[Unit]
    evaluation: list[Unit]
    leaks: dict[int, int]
    """Training unit -> evaluation unit."""


def leak_corpus(random: Random, documents: int, questions: int) -> LeakCorpus:
    """Questions of 15 to 60 words, 5 % of the words edited, each in one document in ten."""
    evaluation = [
        (
            " ".join(words(random, random.randint(15, 60))),
            " ".join(words(random, random.randint(1, 30))),
        )
        for _ in range(questions)
    ]
    train, leaks = [], {}
    for number in range(documents):
        text = words(random, random.randint(60, 600))
        if random.random() < 0.1:
            leaks[number] = random.randrange(questions)
            question = evaluation[leaks[number]][0].split()
            for place in random.sample(range(len(question)), max(1, round(0.05 * len(question)))):
                question[place] = words(random, 1)[0]
            cut = random.randint(0, len(text))
            text[cut:cut] = question
        half = random.randint(0, len(text)) if number % 2 else 0
        train.append((" ".join(text[:half]), " ".join(text[half:])))
    return LeakCorpus(train, evaluation, leaks)
