"""The methods of tuning."""

from enum import StrEnum


class Method(StrEnum):
    """How the model is tuned."""

    CPT = "CPT"
    SFT = "SFT"
    REWARD = "Reward"
    DPO = "DPO"
    KTO = "KTO"
    ORPO = "ORPO"
    PPO = "PPO"
    GRPO = "GRPO"


ONLINE = (Method.PPO, Method.GRPO)
"""Methods that train on answers which the model writes itself while it is trained."""
RANKED = (Method.REWARD, Method.DPO, Method.ORPO)
"""Methods that train on better and worse answers, of which a share is ranked rightly."""
