"""What is trained: low-rank adapters or all weights."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from finetune_api.fields import RECIPE, ApiModel, DecimalBelowOne, Rule, ShortText, wire_name


class AdapterType(StrEnum):
    """What is trained."""

    LORA = "LoRA"
    RSLORA = "RsLoRA"
    DORA = "DoRA"
    NONE = "None"


class AdapterFrom(StrEnum):
    """What training does with the adapter that it starts from."""

    CONTINUE = "Continue"
    MERGE = "Merge"
    NEW = "New"


class Adapter(ApiModel):
    """Low-rank adapters against catastrophic forgetting, or full weights."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.type) || self.type != 'None' || !(has(self.rank) || has(self.alpha)"
            " || has(self.dropout) || has(self.targetModules) || has(self.rankPattern)"
            " || has(self.alphaPattern))",
            "type None trains all weights: remove rank, alpha, dropout, targetModules, "
            "rankPattern and alphaPattern",
            lambda adapter: (
                adapter.type is not AdapterType.NONE
                or (adapter.dropout is None and not adapter.shape_fields())
            ),
        ),
        Rule(
            "!has(self.type) || self.type != 'None' || !has(self.from) || self.from == 'Merge'",
            "type None trains all weights: remove from, or write Merge to merge the start adapter",
            lambda adapter: (
                adapter.type is not AdapterType.NONE or adapter.from_ in (None, AdapterFrom.MERGE)
            ),
        ),
    )

    type: Annotated[AdapterType | None, RECIPE] = None
    """LoRA (when absent), RsLoRA (scaled by alpha / sqrt(rank)), DoRA (magnitudes train too), or
    None for full weights. With from Continue the start adapter's type when absent."""
    from_: Annotated[AdapterFrom | None, RECIPE] = None
    """Continue trains the start adapter further, with its type, rank, alpha and layers (when
    absent and the start model is an adapter). Merge merges it into its base, publishes that as
    base/ and starts anew (so does method Reward when absent). New is for a full model (when absent
    there)."""
    rank: Annotated[int | None, RECIPE, Field(ge=1, le=1024)] = None
    """Rank of the update; 16 when absent."""
    alpha: Annotated[int | None, RECIPE, Field(ge=1, le=4096)] = None
    """Scale of the update: it is multiplied by alpha / rank; 32 when absent."""
    dropout: Annotated[DecimalBelowOne | None, RECIPE] = None
    """Dropout before the low-rank update; 0.05 for CPT and SFT when absent, else 0."""
    target_modules: Annotated[
        list[ShortText] | None, RECIPE, Field(min_length=1, max_length=64)
    ] = None
    """Linear layers that carry an update: names (q_proj), shell globs over full names
    (model.layers.[0-3].*.q_proj), or all-linear (when absent): all but the output head."""
    rank_pattern: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=1024)]] | None, RECIPE, Field(max_length=64)
    ] = None
    """Ranks of single layers, by name or glob as in targetModules, in place of rank."""
    alpha_pattern: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=4096)]] | None, RECIPE, Field(max_length=64)
    ] = None
    """Alphas of single layers, by name or glob as in targetModules, in place of alpha."""

    def shape_fields(self) -> list[str]:
        """Wire names of the fields given that say which layers carry what update."""
        fields = ("rank", "alpha", "target_modules", "rank_pattern", "alpha_pattern")
        return [wire_name(name) for name in fields if getattr(self, name) is not None]
