"""Sentences of several languages, made of parts; nobody's data."""

from random import Random

_PARTS = {
    "en": (
        "The technician|Our support team|A new customer|The second pump|Every operator",
        "checks|replaces|describes|cleans|compares",
        "the filter of the machine|the report about the delivery|the cable behind the panel|"
        "a list of open questions|the settings of the printer",
        "before the shift begins|after the update|when the light is green|because it is late|"
        "without any tools",
    ),
    "de": (
        "Der Techniker|Die Werkstatt|Ein neuer Kunde|Das zweite Gerät|Jede Schicht",
        "prüft|ersetzt|beschreibt|reinigt|vergleicht",
        "den Filter der Maschine|den Bericht über die Lieferung|das Kabel hinter der Klappe|"
        "eine Liste offener Fragen|die Einstellungen des Druckers",
        "vor Beginn der Arbeit|nach der Wartung|bei grünem Licht|ohne Werkzeug|am nächsten Morgen",
    ),
    "fr": (
        "Le technicien|Notre équipe|Un nouveau client|La deuxième pompe|Chaque opérateur",
        "vérifie|remplace|décrit|nettoie|compare",
        "le filtre de la machine|le rapport de livraison|le câble derrière le panneau|"
        "une liste de questions|les réglages de l'imprimante",
        "avant la reprise|après la mise à jour|si le voyant est vert|sans outil|le lendemain",
    ),
    "es": (
        "El técnico|Nuestro equipo|Un cliente nuevo|La segunda bomba|Cada operario",
        "revisa|sustituye|describe|limpia|compara",
        "el filtro de la máquina|el informe de la entrega|el cable detrás del panel|"
        "una lista de preguntas|los ajustes de la impresora",
        "antes del turno|después del cambio|con la luz verde|sin herramientas|al día siguiente",
    ),
    "zh": (
        "技术人员|客服团队|新客户|第二台水泵|每位操作员",
        "检查了|更换了|描述了|清洗了|比较了",
        "机器的过滤器|关于交货的报告|面板后面的线缆|未解决的问题清单|打印机的设置",
        "在开工之前|在更新之后|当绿灯亮起时|没有使用工具|第二天早上",
    ),
}  # fmt: skip
LANGUAGES = tuple(_PARTS)
_SYLLABLES = "ba ce di fo gu ha ke li mo nu pa re si to vu wa xe yi zo stra pli kro dna fle".split()  # noqa: SIM905


def seeded(seed: int) -> Random:
    """A source of the same texts for the same seed."""
    return Random(seed)


def sentence(random: Random, language: str | None = None) -> str:
    """One sentence."""
    language = language or random.choice(LANGUAGES)
    parts = [random.choice(part.split("|")) for part in _PARTS[language]]
    return "".join(parts) + "。" if language == "zh" else " ".join(parts) + "."


def words(random: Random, count: int) -> list[str]:
    """Invented words from a vocabulary of some ten thousands, as long as real ones."""
    return ["".join(random.choices(_SYLLABLES, k=random.randint(2, 4))) for _ in range(count)]


def around(random: Random, value: str) -> tuple[str, int]:
    """A text with `value` between sentences, and where it begins."""
    before = " ".join(sentence(random) for _ in range(random.randint(0, 2)))
    lead = before + random.choice(["", " ", "\n", "\n- "]) if before else ""
    after = random.choice(["", " ", "\n", ". ", ", ", ") "]) + sentence(random)
    if not after[0].isspace() and after[0] not in ".,)":
        after = " " + after
    return lead + value + after, len(lead)
