#!/usr/bin/env python3
"""Gradients and training steps of our engine against PyTorch's.

dump_gradients (tests/helpers; its head tells the file's contents) writes a batch, the
initial weights, the loss and every gradient that the engine found, then some training
steps. PyTorch computes the same from the same batch and weights, in double, so that all
rounding is ours. Each gradient must agree within a relative norm of 1e-5, or absolutely
within 1e-7: a key bias's true gradient is 0. Losses and gradient norms of the steps
must agree within 1e-4, which also holds AdamW, clipping and weight decay.
"""

import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

import model

RELATIVE, ABSOLUTE, TRAINING = 1e-5, 1e-7, 1e-4

STEPS = 8
# What the shapes below share: small, and no two sizes equal.
COMMON = ["d_model=48", "layers=3", "heads=6", "d_ff=80", "vocab=259", "seq_len=24",
          "batch=2", "lr=0.01"]
CASES = {
    "gpt": ["arch=gpt"],
    "gpt with a window": ["arch=gpt", "window=5"],
    "gpt with fused attention": ["arch=gpt", "kernel=fused"],
    "gpt with flash attention and a window":
        ["arch=gpt", "kernel=flash", "window=7"],
    "llama with grouped keys": ["arch=llama", "kv_heads=2"],
    "llama with grouped keys, a window and flash attention":
        ["arch=llama", "kv_heads=3", "kernel=flash", "window=5"],
    "llama with every block recomputed":
        ["arch=llama", "kernel=fused", "checkpoint=block", "recompute=act_norm"],
    "gpt over three micro-steps, clipped":
        ["arch=gpt", "accumulate=3", "grad_clip=0.1", "beta2=0.99"],
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


def close(ours, theirs, tolerance):
    """False for NaN as well."""
    return abs(ours - theirs) <= tolerance * abs(theirs)


def train(loss_of, p, tensors, metadata):
    """Sentences about training steps that differ from PyTorch's."""
    decay = float(metadata["weight_decay"])
    clip = float(metadata["grad_clip"])
    optimizer = torch.optim.AdamW(
        [{"params": [v for v in p.values() if v.dim() == 2], "weight_decay": decay},
         {"params": [v for v in p.values() if v.dim() == 1], "weight_decay": 0.0}],
        betas=(float(metadata["beta1"]), float(metadata["beta2"])), eps=1e-8)
    wrong = []
    for step, lr in enumerate(tensors["lrs"].tolist()):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = loss_of(p)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(p.values(), clip or math.inf)
        optimizer.step()
        for what, theirs in (("losses", loss), ("grad_norms", norm)):
            ours = tensors[what][step].item()
            if not close(ours, theirs.item(), TRAINING):
                wrong.append(f"{what}, step {step}: {ours} against {theirs.item()}")
    return wrong


def compare(path):
    """A list of sentences, one a disagreement, and the largest relative difference of a
    gradient."""
    tensors, metadata = read_safetensors(path)
    shape = model.Shape(
        metadata["arch"], int(metadata["layers"]), int(metadata["d_model"]),
        int(metadata["heads"]), int(metadata["kv_heads"]), int(metadata["window"]))
    forward = model.gpt if shape.arch == "gpt" else model.llama
    inputs, targets = tensors["tokens"].long(), tensors["targets"].long()
    p = {name[len("param/"):]: value.double().requires_grad_()
         for name, value in tensors.items() if name.startswith("param/")}
    if not p or len(tensors["lrs"]) != STEPS:
        return ["the file lacks parameters or steps"], 0.0

    def loss_of(p):
        logits = forward(p, inputs, shape)
        return F.cross_entropy(logits.flatten(0, -2), targets.flatten())

    loss = loss_of(p)
    loss.backward()
    wrong, worst = [], 0.0
    if not close(tensors["loss"].item(), loss.item(), RELATIVE):
        wrong.append(f"loss {tensors['loss'].item()} against {loss.item()}")
    for name, value in p.items():
        if value.grad is None:
            wrong.append(f"{name}: PyTorch's model does not use it")
            continue
        norm = value.grad.norm().item()
        difference = tensors["grad/" + name].double() - value.grad
        relative = difference.norm().item() / norm
        if norm > 1e-6:
            worst = max(worst, relative)
        if not (relative <= RELATIVE or difference.abs().max().item() <= ABSOLUTE):
            wrong.append(f"{name}: off by {relative:.3g} of its norm {norm:.3g}")
    return wrong + train(loss_of, p, tensors, metadata), worst


def main():
    build = os.environ.get("LM_BUILD", "build")
    helper = os.path.join(build, "tests", "dump_gradients")
    table = os.environ.get("LM_TABLE", "cpu")  # or cuda, where there is a GPU
    # Our own flash kernel for GPUs is not there yet.
    cases = {name: settings for name, settings in CASES.items()
             if table != "cuda" or "kernel=flash" not in settings}
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in cases.items():
            path = os.path.join(folder, "step.safetensors")
            subprocess.run([helper, path, f"table={table}", f"steps={STEPS}", *COMMON,
                            *settings], check=True)
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
