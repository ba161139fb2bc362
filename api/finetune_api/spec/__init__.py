"""What a user writes: the spec of a FineTuneJob (group finetune.dev, version v1alpha1).

The CRD, the run file, the command line's checks and the API reference all derive from here.
A field marked `RECIPE` changes the result and is part of the recipe hash. Fields that may be
left out are `None` until `finetune_api.resolve` fills them in.
"""

from finetune_api.spec.adapter import Adapter, AdapterFrom, AdapterType
from finetune_api.spec.addresses import HUB_SCHEME, ModelUri, Uri, hub_name
from finetune_api.spec.data import (
    FORMATS_OF,
    Data,
    DataChecks,
    DataSource,
    Mixing,
    MixingStop,
    RowFormat,
    RowSource,
)
from finetune_api.spec.job import MUTABLE_FIELDS, Evaluation, FineTuneJobSpec, answer_room
from finetune_api.spec.method import ONLINE, RANKED, Method
from finetune_api.spec.methods import (
    MAX_REPLAY_SHARE,
    Cpt,
    Dpo,
    DpoLoss,
    Grpo,
    GrpoLoss,
    Kto,
    Orpo,
    ReplaySource,
    Reward,
    RewardFunction,
    RewardFunctionType,
)
from finetune_api.spec.model import ModelSource, RewardModelSource
from finetune_api.spec.output import (
    Addressing,
    Best,
    BestMetric,
    Checkpoints,
    OnExisting,
    Output,
    Restarts,
    Retain,
    Storage,
)
from finetune_api.spec.pods import (
    ACCELERATOR_RESOURCES,
    RESERVED_VARIABLES,
    EnvironmentVariable,
    LocalReference,
    PodTemplate,
    Preparation,
    Resources,
    Strategy,
    Workers,
)
from finetune_api.spec.training import (
    EarlyStopping,
    LossOn,
    Precision,
    Scheduler,
    Training,
    TrainingEngine,
)

__all__ = [
    "ACCELERATOR_RESOURCES",
    "FORMATS_OF",
    "HUB_SCHEME",
    "MAX_REPLAY_SHARE",
    "MUTABLE_FIELDS",
    "ONLINE",
    "RANKED",
    "RESERVED_VARIABLES",
    "Adapter",
    "AdapterFrom",
    "AdapterType",
    "Addressing",
    "Best",
    "BestMetric",
    "Checkpoints",
    "Cpt",
    "Data",
    "DataChecks",
    "DataSource",
    "Dpo",
    "DpoLoss",
    "EarlyStopping",
    "EnvironmentVariable",
    "Evaluation",
    "FineTuneJobSpec",
    "Grpo",
    "GrpoLoss",
    "Kto",
    "LocalReference",
    "LossOn",
    "Method",
    "Mixing",
    "MixingStop",
    "ModelSource",
    "ModelUri",
    "OnExisting",
    "Orpo",
    "Output",
    "PodTemplate",
    "Precision",
    "Preparation",
    "ReplaySource",
    "Resources",
    "Restarts",
    "Retain",
    "Reward",
    "RewardFunction",
    "RewardFunctionType",
    "RewardModelSource",
    "RowFormat",
    "RowSource",
    "Scheduler",
    "Storage",
    "Strategy",
    "Training",
    "TrainingEngine",
    "Uri",
    "Workers",
    "answer_room",
    "hub_name",
]
