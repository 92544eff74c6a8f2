#!/usr/bin/env python3
"""nanoGPT's CPU recipe in PyTorch, to hold our worker against.

Bytes of tinyshakespeare.txt as tokens, split 90/10, 4 layers, 4 heads, width 128, 64
tokens of context, batch 12, 2000 steps, learning rate 1e-3 to 1e-4 (cosine, warm-up of
100), beta2 0.99, weight decay 0.1 on matrices, clip 1, no dropout. The validation split
is evaluated whole, in windows that do not overlap. One JSON line a seed:

  LM_DATA=<folder with tinyshakespeare.txt> tests/torch/shakespeare.py --threads 2

tokens_per_s leaves out the first --skip steps and the evaluation; the sampling of
batches is inside, as it is in ours.
"""

import argparse
import json
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

import model

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
VOCAB = 256
LR, LR_MIN, LR_WARMUP = 1e-3, 1e-4, 100


def learning_rate(step, steps):
    """For step 0, 1, …: linear to LR, then a cosine to LR_MIN at `steps`."""
    if step < LR_WARMUP:
        return LR * (step + 1) / LR_WARMUP
    share = (step - LR_WARMUP) / max(1, steps - LR_WARMUP)
    return LR_MIN + 0.5 * (LR - LR_MIN) * (1 + math.cos(math.pi * share))


def read_corpus():
    path = os.path.join(os.environ.get("LM_DATA", ""), "tinyshakespeare.txt")
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        print(f"cannot read '{path}': {error.strerror}; set LM_DATA to its folder",
              file=sys.stderr)
        sys.exit(77)
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    border = len(tokens) * 90 // 100
    return tokens[:border], tokens[border:]


def train(train_tokens, valid_tokens, args, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = model.Shape("gpt", LAYERS, WIDTH, HEADS)
    p = model.gpt_parameters(shape, VOCAB, CONTEXT, 4 * WIDTH, generator)
    for value in p.values():
        value.requires_grad_()
    matrices = [value for value in p.values() if value.dim() == 2]
    vectors = [value for value in p.values() if value.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1},
         {"params": vectors, "weight_decay": 0.0}],
        lr=LR, betas=(0.9, 0.99), eps=1e-8, fused=args.fused)

    def loss_of(inputs, targets, reduction="mean"):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            logits = model.gpt(p, inputs, shape)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(),
                               reduction=reduction)

    timed_from = time.perf_counter()
    for step in range(args.steps):
        if step == args.skip:
            timed_from = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps)
        start = torch.randint(len(train_tokens) - CONTEXT, (BATCH,),
                              generator=generator)
        window = train_tokens[start[:, None] + torch.arange(CONTEXT + 1)]
        loss = loss_of(window[:, :-1], window[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(matrices + vectors, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - timed_from

    total = 0.0
    with torch.no_grad():
        whole = (len(valid_tokens) - 1) // CONTEXT * CONTEXT
        inputs = valid_tokens[:whole].view(-1, CONTEXT)
        targets = valid_tokens[1 : whole + 1].view(-1, CONTEXT)
        for first in range(0, len(inputs), 64):
            total += loss_of(inputs[first : first + 64], targets[first : first + 64],
                             "sum").item()
        count = whole
        if whole + 1 < len(valid_tokens):  # the short last window
            rest = valid_tokens[whole:]
            total += loss_of(rest[None, :-1], rest[None, 1:], "sum").item()
            count += len(rest) - 1
    timed = args.steps - min(args.skip, args.steps - 1)
    return {
        "seed": seed, "precision": args.precision, "threads": args.threads,
        "torch": torch.__version__, "steps": args.steps,
        "final_loss": round(loss.item(), 4), "val_loss": round(total / count, 4),
        "val_tokens": count, "params": sum(v.numel() for v in p.values()),
        "tokens_per_s": round(timed * BATCH * CONTEXT / seconds),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--skip", type=int, default=20, help="steps before the clock")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused AdamW")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train_tokens, valid_tokens = read_corpus()
    for seed in args.seeds:
        print(json.dumps(train(train_tokens, valid_tokens, args, seed)), flush=True)


if __name__ == "__main__":
    main()
