"""adapter."""

from tests.unit.fields.bench import SHARED
from tests.unit.fields.entry import Table, effect
from tests.unit.fields.observe.engine import losses, trained_shapes
from tests.unit.fields.observe.stages import published_weights

NOTHING_SAID = dict.fromkeys(("rank", "alpha", "dropout", "targetModules"))

ADAPTER: Table = {
    "adapter.type": effect(("LoRA", "RsLoRA", "DoRA", "None"), losses, adapter=NOTHING_SAID),
    "adapter.from": effect(
        ("Continue", "Merge"),
        trained_shapes,
        published_weights,
        model={"uri": f"{SHARED}/adapter"},
        adapter=NOTHING_SAID,
    ),
    "adapter.rank": effect((2, 8), trained_shapes),
    "adapter.alpha": effect((4, 64), losses),
    "adapter.dropout": effect(("0", "0.5"), losses),
    "adapter.targetModules": effect((["q_proj"], ["model.layers.0.*"]), trained_shapes),
    "adapter.rankPattern": effect((None, {"q_proj": 2}), trained_shapes),
    "adapter.alphaPattern": effect((None, {"*.0.*.q_proj": 64}), losses),
}
