"""What a server would refuse, or get wrong, about an adapter.

By the published rules of vLLM (LoRAConfig, PEFTHelper: docs.vllm.ai, 0.22), which KServe's runtimes
for language models hand adapters to.
"""

from collections.abc import Mapping
from typing import Any

DEFAULT_MAX_RANK = 16
"""vLLM's --max-lora-rank when it is not given."""
MAX_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that --max-lora-rank takes."""
_INSTEAD = "set output.merged and serve model/ in place of the adapter"
_EMBEDDINGS = ("embed_tokens", "wte", "lm_head")


def serving_notes(adapter_config: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing to know before serving the adapter that adapter_config.json
    describes; none when vLLM loads it as it comes."""
    notes = []
    if adapter_config.get("use_dora"):
        notes.append(f"vLLM does not serve DoRA adapters: {_INSTEAD}.")
    if adapter_config.get("modules_to_save"):
        notes.append(f"vLLM refuses adapters with whole modules (modules_to_save): {_INSTEAD}.")
    if adapter_config.get("bias") not in (None, "none"):
        notes.append(f"vLLM refuses adapters with biases: {_INSTEAD}.")
    return [*notes, *_rank_notes(adapter_config), *_embedding_notes(adapter_config)]


def _rank_notes(config: Mapping[str, Any]) -> list[str]:
    patterns = [config.get(name) or {} for name in ("rank_pattern", "alpha_pattern")]
    rank = max([int(config["r"]), *patterns[0].values()])
    notes = []
    if rank > MAX_RANKS[-1]:
        notes.append(f"Rank {rank} is above {MAX_RANKS[-1]}, vLLM's largest: {_INSTEAD}.")
    elif rank > DEFAULT_MAX_RANK:
        flag = next(value for value in MAX_RANKS if value >= rank)
        notes.append(
            f"Rank {rank} is above vLLM's default of {DEFAULT_MAX_RANK}: start the server with "
            f"--max-lora-rank {flag}."
        )
    if any(patterns):
        notes.append(
            "vLLM scales every layer by the one lora_alpha and r of adapter_config.json and does "
            f"not read rank_pattern and alpha_pattern, so answers would differ: {_INSTEAD}."
        )
    return notes


def _embedding_notes(config: Mapping[str, Any]) -> list[str]:
    targets = config.get("target_modules")
    names = targets if isinstance(targets, list) else []
    touched = [name for name in names if name.rpartition(".")[2] in _EMBEDDINGS]
    if config.get("trainable_token_indices"):
        return [f"vLLM does not serve tokens that an adapter adds: {_INSTEAD}."]
    if touched:
        return [f"Not every server adapts {touched[0]}: if yours refuses it, {_INSTEAD}."]
    return []
