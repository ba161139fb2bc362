"""Telephone numbers: international ones, and national ones that a word announces."""

import re

from finetune_trainer.checks.hits import SPACED, Hit, holds, word_set

SPACES = r" \u00a0\u2009\u202f"
DASHES = r"\-\u2010\u2011\u2012\u2013"
_RUN = re.compile(
    rf"(?<![{SPACED}+＋@#$€£¥-])(?<!\d[.,:/=])(?:[(]?[+＋]|[(])?\d"
    rf"(?:[{SPACES}{DASHES}./()]{{0,3}}\d){{6,30}}(?![{SPACED}@%‰°€$£¥])(?![.,:]\d)"
)
_CONTEXT = re.compile(
    r"\b(?:tele?(?:ph(?:one)?|fono?s?|f[oó]n(?:o|nummer|isch|e)?|foon|fone|m[oó]vel|fax)?|"
    r"(?:tele|cell)?phones?(?: ?(?:number|no\b|nr))?|phone_?(?:number|no)?|ph|call(?:s|"
    r"ed|ing)?"
    r"(?: (?:me|us|him|her))?|mobile?s?|mob|mobil(?:nummer|telefon|e|funk)?|cell(?:ulare|ulaire)?|"
    r"celular|fax(?:nummer)?|fon|handy(?:nummer)?|ruf(?:nummer)?|durchwahl|dial|hotline|sms|"
    r"contact (?:no|number|nr)|rufen sie (?:uns|mich) an|"
    r"t[ée]l[ée]phone[rz]?|t[ée]l|portable|appel(?:er|ez)?|ll[aá]m(?:ar|e|ame|enos|ar al)|"
    r"tel[ée]fonos?|m[oó]vil|telefone|telem[oó]vel|ligue|numero di telefono|cellulare|chiam(?:a|"
    r"i|are)|"
    r"whats?app|telegram|viber|wechat|reach(?:ed)? (?:me|us|him|her)? ?(?:at|on)|"
    r"text(?: me| us)|ring (?:us|me)|puhelin|puh|matkapuhelin|telefoon|tlf|mobilnr|telefonszám|"
    r"(?:my|our|his|her) number|telefonu|nr tel|đ[iị]ện thoại|sđt|nomor(?: hp| telepon)?|telepon|"
    r"тел|телефону?|моб|мобильный|звоните|позвоните|факс|τηλ|τηλέφωνο|κινητό)(?!_?\d)(?![^\W\d_])|"
    r"电话|手机|联系方式|座机|致电|拨打|電話|手機|携帯|연락처|전화|휴대폰|핸드폰|هاتف|جوال|"
    r"الهاتف|موبايل|"
    r"फ़ोन|फोन|मोबाइल|टेलीफोन|טלפון|נייד|โทร|☎|📞|📱|✆",
    re.IGNORECASE,
)
"""Words before a number that make it one to call; most languages' words for it."""
NOT_A_NUMBER_TO_CALL = re.compile(
    r"\b(?:orders?|bestell\w*|invoice|rechnung\w*|ticket|case|ref(?:erence|erenz)?|id|serial|imei|"
    r"account|konto\w*|model|part|sku|isbn|issn|ean|upc|tracking|version|zip|plz|parcel|booking|"
    r"transaction|batch|item|artikel\w*|kunden\w*|customer|article|asin|commande|facture|pedido|"
    r"factura|port|pid|error|code|hash|commit|build|timestamp|epoch|since|budget|price|costs?|"
    r"paid|"
    r"заказ\w*|номер заказа)\b|订单|编号|单号|型号|注文",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"\s?[(\[](?:mobile?|cell|phone|tel|fax|home|work|office|handy|whats ?app|手机|电话)\b", re.I
)
_LABEL = re.compile(r"(?<!\w)[TMF]: ?\Z")
"""As under letters: T for telephone, M for mobile, F for fax."""
_ELSEWHERE = re.compile(r"\d{4}|[$€£¥]\s?$|\n\s*\n")
"""What parts a word from a number."""
_NEXT_TO = re.compile(
    r"[^A-Za-z\u00aa-\u024f\u0370-\u052f\n\d]{0,6}"
    r"(?:(?:is|at|on|under|unter|no|nr|num|number|nummer|lautet|est|es|al|au)\b[\W_]{1,3}){0,2}",
    re.IGNORECASE,
)
"""What may stand between a word and a number that looks like any other: hardly anything."""
_AND = re.compile(r"[\s,;/|&]{0,3}(?:or|and|oder|und|ou|et|o|y|e|или|和|或)?[\s,;/|&]{0,3}")
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d{1,2}(?:\D.*)?|\d{1,2}[-./ ]\d{1,2}[-./ "
    r"](?:19|20)\d\d(?:\D.*)?|"
    r"(?:1[5-9]|20)\d\d\s?[-\u2013/]\s?(?:1[5-9]|20)\d\d|(?:19|20)\d{2}(?:0[1-9]|"
    r"1[0-2])(?:0[1-9]|[12]\d|3[01])"
)
_GROUPED = re.compile(rf"\d{{1,3}}(?:[{SPACES}.]\d{{3}})+|\d+\.\d+")
"""A quantity as well as a number to call."""
_DECIMAL = re.compile(r"[+＋]\d{4,}\.\d+")
_IP_LIKE = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
MOST_DIGITS = 15
_GAP = re.compile(rf"\d([{SPACES}])[^{SPACES}]*\Z")
_REACH = 32
"""Characters before a number within which a word announces it."""
_FICTIONAL = re.compile(r"(?:1?[2-9]\d\d)?55501\d\d")
"""555-0100 to 555-0199: kept free for fiction in North America."""
_THREE_DIGITS = word_set(
    "211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 "
    "237 238 239 240 241 242 243 244 245 246 248 249 250 251 252 253 254 255 256 257 258 260 "
    "261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 "
    "358 359 370 371 372 373 374 375 376 377 378 380 381 382 383 385 386 387 389 420 421 423 "
    "500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 "
    "673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 850 852 853 "
    "855 856 880 886 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 "
    "993 994 995 996 998"
)
_TWO_DIGITS = word_set(
    "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 "
    "63 64 65 66 81 82 84 86 90 91 92 93 94 95 98"
)
"""Calling codes (ITU-T E.164, list of assigned codes)."""
_NATIONAL = {
    "1": (10, 10),
    "7": (10, 10),
    "33": (9, 9),
    "34": (9, 9),
    "86": (10, 12),
    "91": (10, 10),
}
"""Digits after the calling code where one length is sure."""


def find_phones(text: str) -> list[Hit]:
    """Numbers with + and a calling code (E.164), and numbers after a word such as "Tel.".

    A number of 7 to 15 digits counts if a word that announces it stands in the 32 characters
    before it, with none between that makes it something else (an order, a serial number), or in
    brackets behind it, or if it follows such a number ("or", "/"). Misses national numbers that
    nothing announces.
    """
    hits: list[Hit] = []
    for found in _RUN.finditer(text):
        start, end = _trimmed(text, found.start(), found.end())
        after_number = bool(hits) and _AND.fullmatch(text, hits[-1].end, start) is not None
        if _is_phone(text, start, end, after_number):
            hits.append(Hit("Phone", start, end))
    return hits


def digits_of(text: str) -> str:
    """The digits in it, of any script, as 0 to 9."""
    if text.isascii():
        return "".join(filter(str.isdigit, text))
    return "".join(str(int(letter)) for letter in text if letter.isdecimal())


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without a bracket that is never closed, and without numbers that follow in the same run."""
    if text[start] in "+＋(0":
        while len(digits_of(text[start:end])) > MOST_DIGITS:
            gap = _GAP.search(text[start:end])
            if gap is None:
                break
            end = start + gap.start(1)
    if text[start] == "(" and ")" not in text[start:end]:
        start += 1
    return start, end


def _is_phone(text: str, start: int, end: int, after_number: bool) -> bool:
    value = text[start:end]
    digits = digits_of(value)
    if not 7 <= len(digits) <= MOST_DIGITS or len(set(digits)) < 3:
        return False
    plus = "+" in value[:2] or "＋" in value[:2]
    if _FICTIONAL.match(digits) or _DECIMAL.fullmatch(value):
        return False
    if plus and is_international(digits):
        return True
    if digits.startswith("00") and not value.isdecimal() and is_international(digits[2:]):
        return True
    if _DATE.fullmatch(value) or _IP_LIKE.search(value):
        return False
    return after_number or _announced(text, start, end)


def _announced(text: str, start: int, end: int) -> bool:
    lead = text[max(0, start - _REACH) : start]
    words = list(_CONTEXT.finditer(lead))
    if words:
        between = lead[words[-1].end() :]
        plain = text[start:end].isdecimal() and text[start] != "0"
        if plain or _GROUPED.fullmatch(text, start, end):
            return _NEXT_TO.fullmatch(between) is not None
        return not (
            holds(NOT_A_NUMBER_TO_CALL, between, 0, len(between)) or _ELSEWHERE.search(between)
        )
    if _LABEL.search(lead):
        return not text[start:end].isdecimal() or text[start] == "0"
    return _LATER.match(text, end) is not None


def is_international(digits: str) -> bool:
    """Whether digits begin with a calling code and have a length that it allows."""
    code = next((digits[:n] for n in (3, 2, 1) if _assigned(digits[:n])), None)
    if code is None:
        return False
    rest = digits[len(code) :]
    if len(rest) > 1 and rest[0] == "0" and code not in ("39", "225", "241", "242"):
        rest = rest[1:]
    least, most = _NATIONAL.get(code, (6, 12))
    if code == "1" and (rest[:1] in "01" or rest[3:4] in ("0", "1")):
        return False
    return least <= len(rest) <= most and len(digits) >= 8


def _assigned(code: str) -> bool:
    return code in _THREE_DIGITS or code in _TWO_DIGITS or code in ("1", "7")
