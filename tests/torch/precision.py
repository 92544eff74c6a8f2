#!/usr/bin/env python3
"""What bf16, fp16 and tf32 cost our gradients, against what they cost PyTorch's.

dump_gradients (tests/helpers; its head tells the file's contents) writes a batch, the
master weights, and the loss and gradients that the engine found in the cell's type. The
truth is PyTorch's in double, at the weights rounded to that type. PyTorch in the type
itself (weights, activations and gradients) is off by so much; ours may be off by no
more than twice that, tensor by tensor, as norms of the whole difference. Queries, keys
and values count as tensors of their own, since where they are stacked the gradient of
values dwarfs the others'; so do gate and up.

Two errors are chance, and have a floor of FLOOR times the type's unit roundoff. The
true gradient of the keys' bias is 0: its error is taken against the norm of the
gradient that it is stacked in. The loss is one number, and PyTorch's error of it may
happen to be 0.

LM_TABLE=cuda takes the engine for GPUs, and PyTorch's GPU where it has one; tf32 is
compared only there, since PyTorch on a CPU has none. LM_KERNELS names the kernels to
compare, where not all are built; LM_BUILD the folder that has tests/dump_gradients.
"""

import itertools
import os
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

import gradients
import model

TIMES = 2
FLOOR = 1 / 64
NOISE = 1e-6  # of the stacked tensor's norm: a part below it has no true gradient
# fp16 gradients underflow unless the loss is scaled; as large as nothing overflows.
TYPES = {"bf16": (torch.bfloat16, 2.0**-8, 1.0),
         "fp16": (torch.float16, 2.0**-11, 65536.0),
         "tf32": (torch.float32, 2.0**-11, 1.0)}
COMMON = ["d_model=128", "layers=3", "heads=4", "d_ff=336", "vocab=515", "seq_len=80",
          "batch=3"]
CASES = {
    "gpt": ["arch=gpt"],
    "llama, grouped keys, window": ["arch=llama", "kv_heads=2", "window=24"],
}


def run(p, tokens, targets, shape, dtype, scale=1.0):
    """Loss and gradients, in double, of PyTorch's model with all in `dtype`."""
    forward = model.gpt if shape.arch == "gpt" else model.llama
    leaves = {name: value.to(dtype, copy=True).requires_grad_()
              for name, value in p.items()}
    logits = forward(leaves, tokens, shape)
    if dtype != torch.float64:
        logits = logits.float()
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten())
    (loss * scale).backward()
    return loss.item(), {name: value.grad.double() / scale
                         for name, value in leaves.items()}


def parts_of(name, tensor, shape):
    """The tensors stacked in one, by name."""
    if "attn.c_attn." in name or ".qkv_proj." in name:
        rows = [heads * shape.head_dim
                for heads in (shape.heads, shape.kv_heads, shape.kv_heads)]
        return zip((f"{name} [{part}]" for part in "qkv"), tensor.split(rows))
    if ".gate_up_proj." in name:
        halves = tensor.chunk(2)
        return zip((f"{name} [{part}]" for part in ("gate", "up")), halves)
    return [(name, tensor)]


class Verdict:
    """Sentences about what is off by too much, and the worst ratio so far."""

    def __init__(self):
        self.wrong, self.worst, self.at = [], 0.0, "nothing"

    def hold(self, name, ours, theirs, floor):
        """Errors, relative; NaN and a PyTorch that is infinitely wrong fail too."""
        if not (theirs < float("inf") and ours <= max(TIMES * theirs, floor)):
            self.wrong.append(f"{name}: off by {ours:.3g}, PyTorch by {theirs:.3g}")
        if ours > floor and not ours <= self.worst * theirs:
            self.worst = ours / theirs if theirs else float("inf")
            self.at = name


def compare(path, precision, manual, device):
    """A verdict on one file; the errors of all gradients, taken as one, ours and
    PyTorch's."""
    tensors, metadata = gradients.read_safetensors(path)
    shape = model.Shape(
        metadata["arch"], int(metadata["layers"]), int(metadata["d_model"]),
        int(metadata["heads"]), int(metadata["kv_heads"]), int(metadata["window"]),
        manual)
    dtype, unit, scale = TYPES[precision]
    tokens = tensors["tokens"].long().to(device)
    targets = tensors["targets"].long().to(device)
    rounded = {name[len("param/"):]: value.to(device).to(dtype)
               for name, value in tensors.items() if name.startswith("param/")}
    true_loss, truth = run(rounded, tokens, targets, shape, torch.float64)
    their_loss, theirs = run(rounded, tokens, targets, shape, dtype, scale)
    our_loss = tensors["loss"].item()
    verdict = Verdict()
    verdict.hold("loss", abs(our_loss - true_loss) / true_loss,
                 abs(their_loss - true_loss) / true_loss, FLOOR * unit)
    squares = torch.zeros(3, dtype=torch.float64)
    for name, whole in truth.items():
        ours = tensors["grad/" + name].to(device).double()
        for (part, true), (_, our), (_, their) in zip(
                parts_of(name, whole, shape), parts_of(name, ours, shape),
                parts_of(name, theirs[name], shape)):
            norm, size = true.norm().item(), whole.norm().item()
            noise = norm <= NOISE * size
            our, their = (our - true).norm().item(), (their - true).norm().item()
            size = size if noise else norm
            verdict.hold(part, our / size, their / size, FLOOR * unit if noise else 0.0)
            squares += torch.tensor([our**2, their**2, norm**2])
    ours, theirs, size = squares.sqrt().tolist()
    return verdict, ours / size, theirs / size


def cases_of(table, device):
    """Precision, kernel, and a case's name and settings."""
    # Our own flash kernel for GPUs is not there yet.
    known = "naive fused cudnn" if table == "cuda" else "naive fused flash"
    kernels = os.environ.get("LM_KERNELS", known).split()
    for precision, kernel in itertools.product(TYPES, kernels):
        if precision == "tf32" and (device == "cpu" or kernel == "cudnn"):
            continue  # nor has cuDNN's attention
        for name, settings in CASES.items():
            yield precision, kernel, name, settings


def main():
    build = os.environ.get("LM_BUILD", "build")
    helper = os.path.join(build, "tests", "dump_gradients")
    table = os.environ.get("LM_TABLE", "cpu")  # or cuda, where there is a GPU
    device = "cuda" if table == "cuda" and torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    failed = 0
    print(f"table {table}, PyTorch {torch.__version__} on {device}: relative errors, "
          f"and the tensor where ours is most times PyTorch's ({TIMES} allowed)")
    print(f"{'':6} type kernel {'case':28} {'ours':>8} {'PyTorch':>8} worst")
    with tempfile.TemporaryDirectory() as folder:
        for precision, kernel, name, settings in cases_of(table, device):
            path = os.path.join(folder, "step.safetensors")
            case = f"{precision:4} {kernel:6} {name:28}"
            dump = subprocess.run([helper, path, f"table={table}", f"kernel={kernel}",
                                   f"precision={precision}", *COMMON, *settings])
            if dump.returncode:
                print(f"not ok {case} dump_gradients: {dump.returncode}", flush=True)
                failed += 1
                continue
            verdict, ours, theirs = compare(path, precision, kernel == "naive", device)
            os.remove(path)
            print(f"{'not ok' if verdict.wrong else 'ok':6} {case} {ours:8.2g} "
                  f"{theirs:8.2g} {verdict.worst:.2f} {verdict.at}", flush=True)
            for sentence in verdict.wrong:
                print("  " + sentence)
            failed += bool(verdict.wrong)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
