#!/usr/bin/env python3
"""Every parameter's gradient of our engine against PyTorch's, in fp32.

`dump_gradients FILE key=value…` (tests/helpers) takes one training step of a cell with
these parameters and writes a safetensors file: I32 `inputs` and `targets` [B, T], F32
`loss` [1], every parameter before the step under its name and its gradient under
`grad.<name>`; metadata (strings) `arch layers d_model heads kv_heads window`.

PyTorch computes loss and gradients from the same batch and parameters, in double, so
that all rounding is ours. They must agree within a relative norm of 1e-5, or absolutely
within 1e-7: a key bias's true gradient is 0.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

import model

RELATIVE, ABSOLUTE = 1e-5, 1e-7

# What the shapes below share: small, and no two sizes equal.
COMMON = ["d_model=48", "layers=3", "heads=6", "d_ff=80", "vocab=61", "seq_len=24",
          "batch=2"]
CASES = {
    "gpt": ["arch=gpt"],
    "gpt with a window": ["arch=gpt", "window=5"],
    "gpt with grouped keys and a fused kernel":
        ["arch=gpt", "kv_heads=2", "kernel=fused"],
    "gpt with flash attention and a window":
        ["arch=gpt", "kernel=flash", "window=7"],
    "llama with grouped keys": ["arch=llama", "kv_heads=2"],
    "llama with grouped keys, a window and flash attention":
        ["arch=llama", "kv_heads=3", "kernel=flash", "window=5"],
    "llama with every block recomputed":
        ["arch=llama", "kernel=fused", "checkpoint=block", "recompute=act_norm"],
}
DTYPES = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32}


def read_safetensors(path):
    """The tensors by name, and the metadata, of a safetensors file."""
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    body = memoryview(bytearray(data[8 + size :]))
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        flat = torch.frombuffer(body[first:last], dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, metadata


def compare(path):
    """A list of sentences, one a disagreement, and the largest relative difference."""
    tensors, metadata = read_safetensors(path)
    shape = model.Shape(
        metadata["arch"], *(int(metadata[key]) for key in
                            ("layers", "d_model", "heads", "kv_heads", "window")))
    grads = {name[len("grad."):]: value for name, value in tensors.items()
             if name.startswith("grad.")}
    inputs, targets = tensors["inputs"].long(), tensors["targets"].long()
    p = {name: tensors[name].double().requires_grad_() for name in grads}
    if not p:
        return ["the file holds no gradients"], 0.0
    forward = model.gpt if shape.arch == "gpt" else model.llama
    logits = forward(p, inputs, shape)
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten())
    loss.backward()

    wrong, worst = [], 0.0
    ours = tensors["loss"].item()
    if not abs(ours - loss.item()) <= 1e-5 * abs(loss.item()):
        wrong.append(f"loss {ours} against {loss.item()}")
    for name, value in p.items():
        if value.grad is None:
            wrong.append(f"{name}: PyTorch's model does not use it")
            continue
        norm = value.grad.norm().item()
        difference = (grads[name].double() - value.grad).norm().item()
        largest = (grads[name].double() - value.grad).abs().max().item()
        if norm > 1e-6:
            worst = max(worst, difference / norm)
        if not (difference <= RELATIVE * norm or largest <= ABSOLUTE):
            wrong.append(f"{name}: off by {difference:.3g} of a norm of {norm:.3g}")
    return wrong, worst


def main():
    build = os.environ.get("LM_BUILD", "build")
    helper = os.path.join(build, "tests", "dump_gradients")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in CASES.items():
            path = os.path.join(folder, "step.safetensors")
            subprocess.run([helper, path, *COMMON, *settings], check=True)
            wrong, worst = compare(path)
            os.remove(path)
            print(f"{'not ok' if wrong else 'ok'} - {name}: "
                  f"largest relative difference {worst:.2g}")
            for sentence in wrong:
                print("  " + sentence)
            failed += bool(wrong)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
