"""GPTQ and AWQ through gptqmodel. Its environment's Python runs this file; see `channel`."""

import channel  # first: it sets the standard streams right

# isort: split

import gc
import os
import random
import re
import sys
import time

# A machine of one or two cores has fewer workers by default than the library asks for.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, (os.cpu_count() or 2) // 2)))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"  # everything it needs is on this disk

LEAST_WINDOWS = 16


def quantize(request):
    channel.say("stage", name="start")
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.models.auto import SUPPORTED_MODELS
    from gptqmodel.quantization import AWQConfig, GPTQConfig
    from transformers import AutoConfig, AutoTokenizer

    channel.say("versions", values=_versions())
    source, device = request["source"], request["device"]
    config = AutoConfig.from_pretrained(source)
    if config.model_type.lower() not in SUPPORTED_MODELS:
        raise ValueError(f"gptqmodel: model type {config.model_type!r} is not supported")
    random.seed(request["seed"])
    torch.manual_seed(request["seed"])
    tokenizer = AutoTokenizer.from_pretrained(source)
    channel.say("stage", name="calibration")
    calibration = _windows(request, tokenizer)
    channel.say("calibration", samples=len(calibration), tokens=sum(map(len, calibration)))

    settings = {
        "bits": request["bits"],
        "group_size": request["group_size"],
        "sym": request["sym"],
        # vLLM matches from the start of a module's name.
        "dynamic": {f"-:.*(?:{pattern})": {} for pattern in request["keep"]} or None,
        "offload_to_disk_path": request["scratch"],
    }
    if request["method"] == "gptq":
        settings["desc_act"] = request["desc_act"]
        settings["damp_percent"] = request["damp_percent"]
        if request["group_size"] == -1 or request["desc_act"]:
            settings["act_group_aware"] = False  # it orders columns within groups
        made = GPTQConfig(**settings)
    else:
        made = AWQConfig(**settings)
    channel.say("stage", name="load")
    # In any other dtype AWQ's scales come out such that vLLM's plain kernel refuses them.
    model = GPTQModel.load(source, made, device=device, dtype=torch.float16)
    told = _Progress(model, device)
    model.layer_callback = told
    model.subset_callback = told
    channel.say("stage", name="quantize")
    backend = BACKEND.AWQ_TORCH if request["method"] == "awq" and device == "cpu" else BACKEND.AUTO
    began = time.monotonic()
    log = model.quantize(
        [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in calibration],
        batch_size=1,
        backend=backend,
    )
    told.finish()
    losses = _losses(model, log)
    channel.say("losses", values=losses)
    channel.say("stage", name="save")
    model.save(request["output"], max_shard_size=request["shard_size"])
    tokenizer.save_pretrained(request["output"])
    return {
        "seconds": time.monotonic() - began,
        "peak_vram": torch.cuda.max_memory_allocated() if device != "cpu" else 0,
        "peak_ram": _peak_ram(),
    }


def check(request):
    """Logits of the original and of the checkpoint that was made, and a few tokens of its own."""
    if request["device"] == "cpu":  # compiling for a few tokens would take minutes
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = request["device"]
    tokenizer = AutoTokenizer.from_pretrained(request["output"])
    with open(request["text"], encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=True)["input_ids"][: request["tokens"]]
    if len(ids) < 2:
        raise ValueError("the tokenizer that was saved makes no tokens of the text")
    tokens = torch.tensor([ids])
    original = None
    if request["compare"]:
        channel.say("stage", name="original")
        dtype = torch.float32 if device == "cpu" else torch.float16
        model = AutoModelForCausalLM.from_pretrained(request["source"], dtype=dtype)
        with torch.inference_mode():
            original = model.to(device)(tokens.to(device)).logits[0].float().cpu()
        del model
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()
    channel.say("stage", name="reload")
    model = load(request["output"], device)
    with torch.inference_mode():
        logits = model(tokens.to(device)).logits[0].float().cpu()
        generated = model.generate(
            tokens[:, : min(8, len(ids))].to(device), max_new_tokens=8, do_sample=False
        )
    found = {
        "finite": bool(torch.isfinite(logits).all()),
        "generated": int(generated.shape[1] - min(8, len(ids))),
    }
    if original is not None and found["finite"]:
        found["cosine"] = float(torch.nn.functional.cosine_similarity(original, logits).mean())
        found["same_top"] = float((original.argmax(-1) == logits.argmax(-1)).float().mean())
        found["perplexity"] = _perplexity(logits, tokens[0])
        found["original_perplexity"] = _perplexity(original, tokens[0])
    return found


def load(folder, device):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16, device_map=device)
    return model.eval()


def _perplexity(logits, ids):
    import torch

    loss = torch.nn.functional.cross_entropy(logits[:-1].double(), ids[1:])
    return float(torch.exp(loss))


def _windows(request, tokenizer):
    """Samples of equal length, evenly spaced over the text from an offset by the seed."""
    length, samples = request["length"], request["samples"]
    ids = []
    wanted = length * samples * 2
    for text in _texts(request["calibration"], request["field"]):
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= wanted:
            break
    count = min(samples, len(ids) // length)
    if count < min(LEAST_WINDOWS, samples):
        raise ValueError(
            f"the calibration text has {len(ids)} tokens: {count} samples of {length};"
            f" at least {min(LEAST_WINDOWS, samples)} are needed"
        )
    spare = len(ids) - count * length
    offset = random.randint(0, spare // count) if spare else 0
    step = length + spare // count
    return [ids[offset + i * step :][:length] for i in range(count)]


def _texts(path, field):
    if not path.endswith(".parquet"):
        with open(path, encoding="utf-8") as file:
            while text := file.read(1 << 16):
                yield text + file.readline()
        return
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256, columns=[field]):
            for text in batch.column(0).to_pylist():
                if isinstance(text, str) and text.strip():
                    yield text + "\n\n"


class _Progress:
    """What gptqmodel calls at each layer (twice) and part of a layer."""

    def __init__(self, model, device):
        layers = [name for name, _ in model.model.named_modules() if re.search(r"\.(\d+)$", name)]
        numbers = [int(n.rpartition(".")[2]) for n in layers if "expert" not in n]
        self.total = max(numbers, default=-1) + 1
        self.model, self.device = model, device
        self.done = -1
        self.began = time.monotonic()

    def layer_complete(self, layer_idx, submodule_finalized):
        if layer_idx <= self.done:
            return
        self.done = layer_idx
        now = time.monotonic()
        channel.say(
            "layer",
            done=layer_idx + 1,
            total=self.total,
            seconds=round(now - self.began, 3),
            vram=self._vram(),
        )
        self.began = now

    def subset_event(self, stage, layer_idx, module_names, **_):
        names = ", ".join(n.rpartition(".")[2] for n in module_names[:8])
        channel.say("part", layer=layer_idx + 1, total=self.total, stage=stage, names=names)

    def finish(self):
        if self.done + 1 < self.total:
            self.layer_complete(self.total - 1, True)

    def _vram(self):
        if self.device == "cpu":
            return 0
        import torch

        return torch.cuda.max_memory_allocated()


def _losses(model, log):
    """By module: its loss, as a number."""
    entries = model.quant_log or [entry for of in (log or {}).values() for entry in of]
    found = {}
    for entry in entries:
        layer, module = entry.get("layer"), entry.get("module")
        try:
            found[f"{layer}.{module}"] = float(str(entry.get("loss")).split()[0])
        except (ValueError, IndexError):
            continue
    return found


def _versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("gptqmodel", "torch", "transformers", "optimum"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _peak_ram():
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    channel.run({"quantize": quantize, "check": check})
