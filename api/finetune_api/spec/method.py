"""The methods of tuning."""

from enum import StrEnum


class Method(StrEnum):
    """How the model is tuned."""

    CPT = "CPT"
    SFT = "SFT"
    DPO = "DPO"
