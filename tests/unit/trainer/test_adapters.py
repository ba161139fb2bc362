"""Adapters of every type on a base: where they sit, that they start at nothing, that they merge."""

from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import Adapter, AdapterType, Precision
from finetune_trainer.engine import merge
from finetune_trainer.engine.adapters import layout_of, save_adapter
from finetune_trainer.engine.determinism import seed_everything
from finetune_trainer.engine.merge import merge_folders
from finetune_trainer.engine.model import ModelSettings, load_base, load_model, trainable
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.trainer.engine_support import VOCABULARY, make_model

CPU = torch.device("cpu")
TYPES = [AdapterType.LORA, AdapterType.RSLORA, AdapterType.DORA]
IDS = torch.arange(4, 24)[None]
LAYER = "model.layers.{}.self_attn.q_proj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose head is its embedding."""
    made = make_model(tmp_path_factory.mktemp("tied"))
    config = LlamaConfig.from_pretrained(made)
    config.tie_word_embeddings = True
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(made)
    return made


def loaded(folder: Path, adapter: Adapter, start: Path | None = None) -> Any:
    settings = ModelSettings(adapter, Precision.FP32, gradient_checkpointing=False, seed=0)
    seed_everything(0)
    return load_model(folder, settings, CPU, start).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=IDS).logits)


def trained(folder: Path, adapter: Adapter, target: Path) -> Any:
    """A model with an adapter that does something, which is saved in `target`."""
    model = loaded(folder, adapter)
    torch.manual_seed(3)
    for _, parameter in trainable(model):
        parameter.data += 0.05 * torch.randn_like(parameter)
    target.mkdir(parents=True, exist_ok=True)
    save_adapter(model, target)
    return model


@pytest.mark.parametrize("kind", TYPES)
def test_an_untrained_adapter_changes_nothing(folder: Path, kind: AdapterType) -> None:
    model = loaded(folder, Adapter(type=kind, rank=4))
    names = [name for name, _ in trainable(model)]
    assert any("magnitude" in name for name in names) == (kind is AdapterType.DORA)
    torch.testing.assert_close(logits(model), logits(load_base(folder, torch.float32)))


def test_ranks_scale_as_the_types_papers_say(folder: Path) -> None:
    scales = {}
    for kind in TYPES[:2]:
        model = loaded(folder, Adapter(type=kind, rank=4, alpha=8))
        (layer,) = (p for n, p in model.named_modules() if n.endswith(LAYER.format(0)))
        scales[kind] = layer.scaling["default"]
    assert scales == {AdapterType.LORA: 2.0, AdapterType.RSLORA: 4.0}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("is_tied", [False, True])
def test_a_saved_adapter_comes_back_and_merges_to_the_same_logits(
    folder: Path, tied: Path, tmp_path: Path, kind: AdapterType, is_tied: bool
) -> None:
    base = tied if is_tied else folder
    model = trained(base, Adapter(type=kind, rank=4, alpha=8), tmp_path / "adapter")
    expected = logits(model)
    assert (expected - logits(load_base(base, torch.float32))).abs().max() > 0.1
    again = loaded(base, Adapter(), tmp_path / "adapter")
    torch.testing.assert_close(logits(again), expected, atol=1e-6, rtol=0)
    assert {n for n, _ in trainable(again)} == {n for n, _ in trainable(model)}
    merge_folders(base, tmp_path / "adapter", base, tmp_path / "merged")
    merged = load_base(tmp_path / "merged", "auto")
    torch.testing.assert_close(logits(merged), expected, atol=1e-5, rtol=0)
    names = load_file(tmp_path / "merged" / "model.safetensors").keys()
    assert ("lm_head.weight" in names) is not is_tied
    assert not any("lora" in name or "base_layer" in name for name in names)
    handed_over = {"config.json", "generation_config.json", "tokenizer.json"}
    assert {path.name for path in (tmp_path / "merged").iterdir()} >= handed_over


def test_a_merged_model_keeps_the_type_of_its_base_and_is_split_where_it_is_big(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    load_base(folder, torch.bfloat16).save_pretrained(half)
    trained(folder, Adapter(rank=4), tmp_path / "adapter")
    monkeypatch.setattr(merge, "SHARD_SIZE", "20KB")
    merge_folders(half, tmp_path / "adapter", folder, tmp_path / "merged")
    files = sorted(path.name for path in (tmp_path / "merged").glob("*.safetensors*"))
    assert "model.safetensors.index.json" in files
    assert len(files) > 2
    merged = load_base(tmp_path / "merged", "auto")
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}


def test_names_and_globs_choose_layers_and_patterns_their_ranks(folder: Path) -> None:
    model = loaded(
        folder,
        Adapter(
            rank=4,
            alpha=8,
            target_modules=["model.layers.[1-9].*.q_proj", "v_proj"],
            rank_pattern={"*.q_proj": 2},
            alpha_pattern={"v_proj": 32},
        ),
    )
    values = "model.layers.{}.self_attn.v_proj"
    assert layout_of(model) == {
        LAYER.format(1): (2, 8),
        values.format(0): (4, 32),
        values.format(1): (4, 32),
    }


def test_all_linear_leaves_the_head_out_and_a_name_puts_it_in(folder: Path) -> None:
    assert len(layout_of(loaded(folder, Adapter(rank=4)))) == 14
    both = layout_of(loaded(folder, Adapter(rank=4, target_modules=["all-linear", "lm_head"])))
    assert len(both) == 15
    assert "lm_head" in both


@pytest.mark.parametrize(
    ("adapter", "where", "told"),
    [
        (Adapter(target_modules=["query"]), "targetModules", "no linear layer named query"),
        (Adapter(target_modules=["*.layers.9.*"]), "targetModules", "named *.layers.9.*; it has"),
        (Adapter(target_modules=["embed_tokens"]), "targetModules", "named embed_tokens"),
        (
            Adapter(target_modules=["q_proj"], rank_pattern={"v_proj": 2}),
            "rankPattern",
            "no layer with an adapter named v_proj; it has q_proj, in full such as model.layers.0",
        ),
        (
            Adapter(alpha_pattern={"q_proj": 2, "*.layers.0.*": 4}),
            "alphaPattern",
            "q_proj and *.layers.0.* give model.layers.0.self_attn.q_proj different values",
        ),
    ],
)
def test_names_that_hit_nothing_are_refused_with_those_that_exist(
    folder: Path, adapter: Adapter, where: str, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        loaded(folder, adapter)
    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.where == f"spec.adapter.{where}"
    assert told in caught.value.message


@pytest.mark.parametrize("target", ["lm_head", "*head"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_head_tied_to_the_embeddings_carries_no_adapter(
    tied: Path, kind: AdapterType, target: str
) -> None:
    with pytest.raises(UserError, match="shares its weights with the input embeddings"):
        loaded(tied, Adapter(type=kind, target_modules=[target]))


def test_an_adapter_of_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    trained(folder, Adapter(rank=4), tmp_path / "adapter")
    config = LlamaConfig.from_pretrained(folder)
    config.hidden_size = 64
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wider")
    with pytest.raises(
        UserError, match=r"14 tensors differ|tensors differ, the first is"
    ) as caught:
        loaded(tmp_path / "wider", Adapter(), tmp_path / "adapter")
    assert caught.value.reason is Reason.MODEL_INVALID
    assert config.vocab_size == VOCABULARY
