"""The table of all fields."""

from tests.unit.fields.entry import Table
from tests.unit.fields.table import adapter, data, methods, operator, places, pods, training

PARTS: tuple[Table, ...] = (
    data.DATA,
    adapter.ADAPTER,
    training.TRAINING,
    training.EVALUATION,
    training.CHECKPOINTS,
    methods.CPT,
    methods.DPO,
    methods.KTO,
    methods.REWARD,
    methods.ORPO,
    methods.GRPO,
    methods.PPO,
    pods.WORKERS,
    pods.POD_TEMPLATE,
    places.STORAGE,
    places.OUTPUT,
    operator.OPERATOR,
)
TABLE: Table = {name: entry for part in PARTS for name, entry in part.items()}
