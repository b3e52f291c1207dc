"""Checkpoints as people really save them: other names, wrappers, dtypes, tokenizers, and damage."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.convert import ConvertedModel, convert_checkpoint, open_checkpoint
from localq.errors import BadFileError, LocalqError, UnsupportedError
from localq.events import ignore
from localq.formats.gguf import Plain
from localq.formats.types import QuantType
from localq.quantize.layout import lay_out
from localq.quantize.options import QuantOptions
from localq.quantize.writer import write_file
from tests.checkpoints import (
    LLAMA2_CONFIG,
    RawTensor,
    read_safetensors,
    write_json,
    write_llama_checkpoint,
    write_safetensors,
)
from tests.sentencepiece_tokenizer import fast_tokenizer

SMALL: Mapping[str, Any] = {
    **LLAMA2_CONFIG,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
    "vocab_size": 512,
}
Rename = Callable[[str], str | None]


@pytest.fixture
def root(tmp_path: Path, material: Path) -> Path:
    tokenizer = material / "models" / "stories260K-hf"
    return write_llama_checkpoint(tmp_path / "small", config=SMALL, tokenizer_from=tokenizer)


def tensors_of(root: Path) -> dict[str, RawTensor]:
    return read_safetensors(root / "model.safetensors")


def rewrite(root: Path, tensors: Mapping[str, RawTensor], **config: Any) -> None:
    write_safetensors(root / "model.safetensors", dict(sorted(tensors.items())))
    known = json.loads((root / "config.json").read_text())
    write_json(root / "config.json", known | config)


def renamed(root: Path, rename: Rename, **config: Any) -> None:
    names = {old: rename(old) for old in tensors_of(root)}
    kept = {new: tensors_of(root)[old] for old, new in names.items() if new is not None}
    rewrite(root, kept, **config)


def convert(root: Path) -> ConvertedModel:
    return convert_checkpoint(open_checkpoint(root, name="small"))


def written(root: Path, quant: QuantType = QuantType.BF16) -> bytes:
    model = convert(root)
    path = root.parent / "out.gguf"
    layout = lay_out(model.fields, model.tensors, QuantOptions(quant))
    write_file(path, layout, threads=2, emit=ignore, cancel=threading.Event())
    return path.read_bytes()


def fast_alone(root: Path) -> Path:
    """Put a tokenizer.json in the place of the tokenizer.model."""
    path = root / "tokenizer.json"
    fast_tokenizer(root / "tokenizer.model").save(str(path))
    (root / "tokenizer.model").unlink()
    return path


def value(model: ConvertedModel, key: str) -> Plain | None:
    field = model.fields.get(f"tokenizer.ggml.{key}")
    return None if field is None else field.value


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "problem"),
    [
        ("model.layers.1.mlp.down_proj.weight", (64, 96), r"blk\.1\.ffn_down\.weight \[64, 96\]"),
        ("model.layers.0.self_attn.k_proj.weight", (64, 64), r"by config\.json it is \[32, 64\]"),
        ("model.layers.0.input_layernorm.weight", (32,), r"'model\.layers\.0\.input_layernorm"),
        ("lm_head.weight", (511, 64), r"output\.weight \[511, 64\], but by .* \[512, 64\]"),
        ("model.embed_tokens.weight", (520, 64), "vocab_size is 512, but .* have 520 rows"),
    ],
)
def test_a_shape_that_the_config_does_not_give_is_refused(
    root: Path, name: str, shape: tuple[int, ...], problem: str
) -> None:
    count = int(np.prod(shape))
    rewrite(root, tensors_of(root) | {name: ("BF16", shape, bytes(2 * count))})
    with pytest.raises(BadFileError, match=problem) as caught:
        convert(root)
    assert caught.value.hint


def test_a_token_beyond_the_embeddings_is_refused_with_both_numbers(root: Path) -> None:
    fast_alone(root)
    cut = {"model.embed_tokens.weight", "lm_head.weight"}
    tensors = {
        name: (dtype, (500, 64), data[: 500 * 128]) if name in cut else (dtype, shape, data)
        for name, (dtype, shape, data) in tensors_of(root).items()
    }
    rewrite(root, tensors, vocab_size=500)
    with pytest.raises(BadFileError, match=r"token 511 is beyond .* vocabulary of 500") as caught:
        convert(root)
    assert "pull the model again" in str(caught.value.hint)


def test_added_tokens_without_a_row_are_left_out(root: Path) -> None:
    """As Gemma 3 1b's <image_soft_token>, token 262144 of 262144."""
    path = fast_alone(root)
    tokenizer = json.loads(path.read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer["added_tokens"].append({"id": 512, "content": "<image>", **flags, "special": True})
    path.write_text(json.dumps(tokenizer))
    tokens = value(convert(root), "tokens")
    assert isinstance(tokens, list)
    assert len(tokens) == 512
    assert "<image>" not in tokens


# -- an output that is not there -------------------------------------------------------------------


def test_an_untied_model_without_its_output_is_refused(root: Path) -> None:
    renamed(root, lambda name: None if name == "lm_head.weight" else name)
    with pytest.raises(BadFileError, match=r"nothing in it becomes output\.weight"):
        convert(root)
    rewrite(root, tensors_of(root), tie_word_embeddings=True)
    assert convert(root).tensors


def test_an_embedder_needs_no_output(root: Path) -> None:
    renamed(root, lambda name: None if name == "lm_head.weight" else name)
    (root / "1_Pooling").mkdir()
    write_json(root / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (root / "modules.json").write_text(json.dumps(modules))
    assert convert(root).tensors


# -- names -----------------------------------------------------------------------------------------

WRAPPED: Mapping[str, Rename] = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "torch.compile, its layers": lambda name: name.replace("mlp.", "mlp._orig_mod."),
    "DistributedDataParallel": lambda name: f"module.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "FSDP": lambda name: name.replace("layers.", "layers._fsdp_wrapped_module."),
    "PEFT, after merging": lambda name: f"base_model.model.{name}",
    "PEFT, its layers": lambda name: name.replace("q_proj.", "q_proj.base_layer."),
    "the text part, new": lambda name: name.replace("model.", "model.language_model."),
    "the text part, old": lambda name: f"language_model.{name}",
}


@pytest.mark.parametrize("rename", WRAPPED.values(), ids=WRAPPED.keys())
def test_wrappers_of_names_change_nothing(root: Path, rename: Rename) -> None:
    plain = written(root)
    renamed(root, rename)
    assert written(root) == plain


@pytest.mark.parametrize("architecture", ["LlamaModel", "MistralModel"])
def test_a_base_model_is_saved_without_the_first_part(root: Path, architecture: str) -> None:
    """And without an output, which stands for nothing in a model that only makes vectors."""
    named = {t.name for t in convert(root).tensors} - {"output.weight"}
    renamed(
        root,
        lambda name: None if name == "lm_head.weight" else name.removeprefix("model."),
        architectures=[architecture],
    )
    assert {t.name for t in convert(root).tensors} == named


def test_parts_for_pictures_and_sounds_are_left_out(root: Path) -> None:
    more: dict[str, RawTensor] = {
        name: ("BF16", (2, 2), bytes(8))
        for name in (
            "vision_tower.encoder.layers.0.mlp.fc1.weight",
            "model.visual.blocks.0.attn.qkv.weight",
            "multi_modal_projector.linear_1.weight",
            "audio_tower.conv1.weight",
        )
    }
    plain = written(root)
    rewrite(root, tensors_of(root) | more)
    with pytest.raises(UnsupportedError, match="does not know the tensor"):
        convert(root)  # the config speaks of nothing of the kind
    rewrite(root, tensors_of(root), vision_config={}, audio_config={})
    assert written(root) == plain


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_B.default.weight",
        "model.embed_tokens.lora_embedding_A.default",
        "base_model.model.lm_head.modules_to_save.default.weight",
    ],
)
def test_an_adapter_that_was_not_merged_is_refused(root: Path, name: str) -> None:
    rewrite(root, tensors_of(root) | {name: ("BF16", (8, 64), bytes(1024))})
    with pytest.raises(UnsupportedError, match="an adapter that was never merged") as caught:
        convert(root)
    assert "merge_and_unload" in str(caught.value.hint)


def test_two_names_for_one_tensor_are_refused(root: Path) -> None:
    twin = {f"_orig_mod.{name}": t for name, t in tensors_of(root).items() if "norm" in name}
    rewrite(root, tensors_of(root) | twin)
    with pytest.raises(BadFileError, match="two tensors would become"):
        convert(root)


# -- numbers ---------------------------------------------------------------------------------------


def as_floats(tensor: RawTensor) -> Any:
    _, shape, data = tensor
    wide = np.frombuffer(data, "<u2").astype("<u4") << 16
    return wide.view("<f4").reshape(shape)


def test_doubles_are_read(root: Path) -> None:
    plain = written(root, QuantType.F32)
    doubles: dict[str, RawTensor] = {
        name: ("F64", tensor[1], as_floats(tensor).astype("<f8").tobytes())
        for name, tensor in tensors_of(root).items()
    }
    rewrite(root, doubles)
    assert open_checkpoint(root).dtype == "F64"
    assert written(root, QuantType.F32)[-4096:] == plain[-4096:]
    assert {t.lossless for t in convert(root).tensors} == {"F32"}
    assert written(root, QuantType.Q4_0)


def test_embeddings_in_f32_do_not_make_it_a_model_of_f32(root: Path) -> None:
    wide: dict[str, RawTensor] = {
        name: ("F32", tensor[1], as_floats(tensor).tobytes())
        for name, tensor in tensors_of(root).items()
        if "embed" in name
    }
    rewrite(root, tensors_of(root) | wide)
    opened = open_checkpoint(root)
    assert opened.dtype == "BF16"
    model = convert_checkpoint(opened)
    assert model.fields["general.file_type"].value == QuantType.BF16.file_type


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rope",
    [
        {"type": None, "factor": None},
        {"rope_type": "default", "factor": None, "rope_theta": None},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": None, "high_freq_factor": None},
    ],
)
def test_settings_that_are_null_are_not_set(root: Path, rope: dict[str, Any]) -> None:
    rewrite(root, tensors_of(root), rope_scaling=rope)
    fields = convert(root).fields
    rewrite(root, tensors_of(root), rope_scaling={k: v for k, v in rope.items() if v is not None})
    assert fields == convert(root).fields


# -- tokens at the ends ----------------------------------------------------------------------------


def without_settings(root: Path, processor: object) -> None:
    """As transformers 5 saves it: no tokenizer.model, no add_bos_token."""
    path = fast_alone(root)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": processor}))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(root / "tokenizer_config.json", settings)


def template(*pieces: str) -> dict[str, Any]:
    single = [
        {"Sequence": {"id": "A", "type_id": 0}}
        if piece == "A"
        else {"SpecialToken": {"id": piece, "type_id": 0}}
        for piece in pieces
    ]
    special = {p: {"id": p, "ids": [1], "tokens": [p]} for p in pieces if p != "A"}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }


@pytest.mark.parametrize(
    ("processor", "bos"),
    [(None, False), (template("A"), False), (template("<s>", "A"), True)],
    ids=["none", "adds nothing", "adds it"],
)
def test_the_post_processor_decides_whether_a_text_begins_with_bos(
    root: Path, processor: object, bos: bool
) -> None:
    without_settings(root, processor)
    assert value(convert(root), "add_bos_token") is bos
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    write_json(root / "tokenizer_config.json", settings)
    assert value(convert(root), "add_bos_token") is True


@pytest.mark.parametrize(
    ("ends", "written_as"),
    [
        ([2, 300, 301], {"eos": 2, "eot": 300, "eom": 301}),
        (2, {"eos": 2, "eot": None, "eom": None}),
        (300, {"eos": 2, "eot": 300, "eom": None}),
        ([2, 99999, -1, None, "x", True], {"eos": 2, "eot": None, "eom": None}),
    ],
)
def test_all_ids_that_end_a_reply_do(root: Path, ends: Any, written_as: dict[str, Any]) -> None:
    write_json(root / "generation_config.json", {"eos_token_id": ends})
    model = convert(root)
    assert {kind: value(model, f"{kind}_token_id") for kind in written_as} == written_as


def test_more_ends_than_there_are_places_are_told(root: Path) -> None:
    write_json(root / "generation_config.json", {"eos_token_id": [2, 300, 301, 302]})
    assert any("replies will not end at" in warning for warning in convert(root).warnings)


def test_nothing_crashes_on_settings_that_lie(root: Path) -> None:
    lies: list[object] = [{}, [], "x", 1, {"eos_token_id": {}}, {"eos_token_id": [[[]]]}]
    for lie in lies:
        (root / "generation_config.json").write_text(json.dumps(lie))
        try:
            convert(root)
        except LocalqError:
            continue
