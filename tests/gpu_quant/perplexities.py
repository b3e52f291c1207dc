"""Perplexities of several models on one text, by transformers; run by a backend's Python.

    python perplexities.py REQUEST.json

The request: {"text": file, "windows": count, "length": tokens of each,
"models": [{"name", "folder", "weights": safetensors that replace the folder's, or null,
"round": [bits, group] to round to nearest, or null}]}. The last line of the output is a JSON
object: by name the perplexity, and the mean cosine of its logits with those of the first model.
"""

import json
import os
import sys

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling would take minutes on a processor

# isort: split

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def rounded(weight, bits, group):
    """Symmetric round-to-nearest of rows in groups, as GPTQ's grid has it."""
    rows, columns = weight.shape
    parts = weight.float().reshape(rows, columns // group, group)
    top = 2 ** (bits - 1) - 1
    scale = (parts.abs().amax(-1, keepdim=True) / top).clamp(min=1e-10)
    return ((parts / scale).round().clamp(-top - 1, top) * scale).reshape(rows, columns)


def loaded(entry):
    packed = entry.get("packed", False)
    dtype = torch.float16 if packed else torch.float32
    model = AutoModelForCausalLM.from_pretrained(entry["folder"], dtype=dtype).eval()
    if entry.get("weights"):
        model.load_state_dict(load_file(entry["weights"]), strict=False)
    if entry.get("round"):
        bits, group = entry["round"]
        for name, parameter in model.named_parameters():
            if ".layers." in name and parameter.ndim == 2:
                parameter.data = rounded(parameter.data, bits, group)
    return model


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    first = request["models"][0]
    tokenizer = AutoTokenizer.from_pretrained(first["folder"])
    with open(request["text"], encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
    length, windows = request["length"], request["windows"]
    assert len(ids) >= length * windows, "the text is too short"
    base = None
    found = {}
    for entry in request["models"]:
        model = loaded(entry)
        losses, cosines, logits = [], [], []
        with torch.inference_mode():
            for i in range(windows):
                piece = torch.tensor([ids[i * length :][:length]])
                out = model(piece).logits[0].float()
                losses.append(torch.nn.functional.cross_entropy(out[:-1], piece[0, 1:]))
                if i < 4:
                    logits.append(out)
                    if base is not None:
                        near = torch.nn.functional.cosine_similarity(base[i], out)
                        cosines.append(near.mean())
        if base is None:
            base = logits
        found[entry["name"]] = {
            "perplexity": float(torch.exp(torch.stack(losses).mean())),
            "cosine": float(torch.stack(cosines).mean()) if cosines else 1.0,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
