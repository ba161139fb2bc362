"""The methods of tuning."""

from enum import StrEnum


class Method(StrEnum):
    """How the model is tuned."""

    CPT = "CPT"
    SFT = "SFT"
    DPO = "DPO"
    KTO = "KTO"
    ORPO = "ORPO"


RANKED = (Method.DPO, Method.ORPO)
"""Methods whose held-out units are pairs, of which a share is ranked rightly."""
