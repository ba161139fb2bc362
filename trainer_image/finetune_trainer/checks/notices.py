"""Notices that a text is somebody's property."""

import re

from finetune_trainer.checks.hits import Hit, without_overlaps

_SIGNS = (
    "©", "℗", "copyright", "(c)", "rights reserved", "rechte vorbehalten", "droits réservés",
    "derechos reservados", "diritti riservati", "direitos reservados", "urheberrecht", "版权所有",
    "版權所有", "all rights", "права защищены",
)  # fmt: skip
_CONFIDENTIAL_SIGNS = (
    "confiden", "proprietary", "internal use", "trade secret", "not for distribution",
    "vertraulich",
    "nur für den internen", "nur für internen", "usage interne", "uso interno",
    "do not distribute",
    "机密", "保密", "内部资料", "社外秘", "do not copy",
)  # fmt: skip
_YEARS = r"(?:19|20)\d\d(?:\s?[-–,]\s?(?:(?:19|20)\d\d|present|heute))*"
_NAME = r"[\w&.,'’()/-]+(?: [\w&.,'’()/-]+){0,5}"
_COPYRIGHT = re.compile(
    rf"(?:copyright\s+)?(?:©|℗|\(c\))\s*(?:copyright\s+)?(?:by\s+)?{_YEARS}(?:[ ,]+(?:by "
    rf")?{_NAME})?|"
    rf"copyright\s*(?:notice)?[:\s]\s*(?:by\s+)?(?:{_YEARS}|\(c\)|©)(?:[ ,]+(?:by )?{_NAME})?|"
    rf"(?:copyright (?:\(c\) |© )|© ?)(?:by )?(?!\d)[^\W\d_][\w&.'’-]*(?: "
    rf"[^\W\d_][\w&.'’-]*){{0,5}},? {_YEARS}|"
    rf"©\s?[A-Z][\w&.'’-]+(?: [A-Z][\w&.'’-]+){{0,4}}|copyright (?:by|of) {_NAME}|"
    r"all rights (?:are )?reserved|alle rechte (?:sind )?vorbehalten|tous droits réservés|"
    r"(?:todos los )?derechos reservados|tutti i diritti (?:sono )?riservati|"
    r"todos os direitos reservados|urheberrechtlich geschützt|版权所有|版權所有|все права "
    r"защищены",
    re.IGNORECASE,
)
_CONFIDENTIAL = re.compile(
    r"(?:strictly |company |highly )?(?:proprietary (?:and|&|/) confidential|confidential (?:and|"
    r"&|/) proprietary)|"
    r"(?:strictly|company|highly|commercial(?:ly)?)[ -]confidential|(?:strictly |streng "
    r")vertraulich|"
    r"(?:for )?internal use only|not for (?:public |external )?(?:distribution|release)|"
    r"do not (?:copy or )?distribute|contains (?:confidential|proprietary) information|"
    r"(?:is|are|this document is|the information) (?:confidential|proprietary)|"
    r"confidential(?:ity)? (?:notice|information|document|material|draft|report)|"
    r"contains trade secrets|"
    r"nur für den internen gebrauch|nur für internen gebrauch|vertraulich(?=\s*(?:$|[:.–-]))|"
    r"(?:à )?usage interne (?:uniquement|exclusivement)|confidentiel(?=\s*(?:$|[:.–-]))|"
    r"(?:para )?uso interno(?: exclusivo)?|confidencial(?=\s*(?:$|[:.–-]))|机密文件|保密文件|"
    r"严格保密|内部资料|社外秘|"
    r"^[\s\W]{0,8}(?:confidential|vertraulich|proprietary)[\s\W]{0,8}$",
    re.IGNORECASE | re.MULTILINE,
)


def find_notices(text: str) -> list[Hit]:
    """Places of kind Copyright and Confidential; a notice is no proof, only a reason to look.

    A sign alone is none: "(c)" counts with a year behind it, "confidential" as a mark of the
    text (a line of its own, "strictly", "and proprietary"), not as a word of a sentence.
    """
    low = text.lower()
    hits: list[Hit] = []
    if any(sign in low for sign in _SIGNS):
        hits += [Hit("Copyright", *found.span()) for found in _COPYRIGHT.finditer(text)]
    if any(sign in low for sign in _CONFIDENTIAL_SIGNS):
        hits += [Hit("Confidential", *found.span()) for found in _CONFIDENTIAL.finditer(text)]
    return without_overlaps(hits) if len(hits) > 1 else hits
