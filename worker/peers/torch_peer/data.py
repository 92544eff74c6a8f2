"""Training data: the tokens and batches of worker/data.c, in the same order.

Needs PyTorch, but no device: batches are handed out in host memory.
"""

import glob
import hashlib
import math
import os
import re

import torch

from . import stories
from .attempt import Failure, unsupported

MASK = (1 << 64) - 1
BLOCK = 4096  # samples whose places are looked up at once
UNITS = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "kB": 1e3, "KB": 1e3,
         "MB": 1e6, "GB": 1e9, "B": 1.0, None: 1.0}
SIZE = r"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(" + "|".join(filter(None, UNITS)) + ")?"


# -- the corpus --------------------------------------------------------------------

def generate(asked):
    match = re.fullmatch(rf"stories(?::{SIZE}(?::(\d+))?)?", asked, re.ASCII)
    number, unit, seed = match.groups() if match else ("0", None, None)
    size = int(float(number) * UNITS[unit]) if number else 1000000
    seed = int(seed) if seed else 1337
    if not 1 <= size <= 1 << 50:
        raise Failure("failed", f"data '{asked}': expected stories, stories:SIZE or "
                                "stories:SIZE:SEED, such as stories:4MB:1337")
    return stories.generate(seed, size), f"stories seed {seed}, {size / 1e6:.1f} MB"


def files_of(word, root):
    """The files that one word of the list names: a path, or a glob in byte order."""
    rooted = os.path.isabs(word) or not root
    if not re.search(r"[*?\[]", word):
        return [word if rooted else os.path.join(root, word)]
    pattern = word if rooted else os.path.join(glob.escape(root), word)
    found = sorted(glob.glob(pattern), key=os.fsencode)
    if not found:
        raise Failure("failed", f"data '{pattern}' matches no file")
    return found


def read_files(asked, root):
    parts = []
    for word in asked.split(","):
        word = word.strip(" ")
        if not word:
            raise Failure("failed", f"data '{asked}' has an empty file name")
        for path in files_of(word, root):
            if os.path.isdir(path):
                raise unsupported(f"data '{path}' is a folder: this version reads text "
                                  f"files only")
            try:
                with open(path, "rb") as file:
                    parts.append(file.read())
            except OSError as error:
                raise Failure("failed", f"cannot open data file '{path}': "
                                        f"{error.strerror}") from error
    corpus = b"".join(parts)
    return corpus, f"{asked}, {len(corpus) / 1e6:.1f} MB"


# -- the order of samples ----------------------------------------------------------

def mix(x):
    """splitmix64's finish: every bit of x matters to every bit of the result."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def signed(x):
    return x - (1 << 64) if x >> 63 else x


def mix_all(x):
    """mix() of each element; int64 arithmetic wraps, and so is as good as uint64's."""
    def shifted(x, by):
        return (x >> by) & ((1 << 64 - by) - 1)

    x = x + signed(0x9E3779B97F4A7C15)
    x = (x ^ shifted(x, 30)) * signed(0xBF58476D1CE4E5B9)
    x = (x ^ shifted(x, 27)) * signed(0x94D049BB133111EB)
    return x ^ shifted(x, 31)


def permute(i, n, key):
    """Where each of `i` goes in the permutation of 0 … n − 1 that `key` picks."""
    half = 1
    while half < 31 and 1 << 2 * half < n:
        half += 1
    mask = (1 << half) - 1
    rounds = [signed(mix((key + r) & MASK)) for r in range(6)]

    def once(i):
        left, right = i >> half, i & mask
        for constant in rounds:
            left, right = right, left ^ (mix_all(right ^ constant) & mask)
        return left << half | right

    i = once(i)
    astray = (i >= n).nonzero().flatten()
    while len(astray):
        i[astray] = once(i[astray])
        astray = astray[i[astray] >= n]
    return i


class Data:
    def __init__(self, params, root):
        tokenizer, split = params["tokenizer"], params["split"]
        if tokenizer != "bytes":
            raise unsupported(f"tokenizer '{tokenizer}': this version knows 'bytes' only")
        asked = params["data"]
        generated = re.match(r"stories(:|$)", asked)
        corpus, self.source = generate(asked) if generated else read_files(asked, root)
        self.tokenizer, self.vocab = tokenizer, 256
        self.bytes = len(corpus)
        self.digest = hashlib.sha256(
            corpus + tokenizer.encode() + b"\0" + split.encode() + b"\0").hexdigest()
        self.seq_len, self.seed = params["seq_len"], params["seed"]
        self.cut(torch.frombuffer(bytearray(corpus), dtype=torch.uint8), split)
        self.block_first, self.block = 0, torch.empty(0, dtype=torch.int64)
        self.end = math.inf  # samples there are for all ranks, where epochs end

    def cut(self, tokens, split):
        shares = [float(share) for share in split.split("/")]
        one = int(len(tokens) * shares[0] / 100 + 0.5)
        two = int(len(tokens) * (shares[0] + shares[1]) / 100 + 0.5)
        self.valid = tokens[one:two]
        self.counts = [one, two - one, len(tokens) - two]
        if one <= self.seq_len:
            raise Failure("failed", f"data '{self.source}' is too small: split {split} "
                                    f"leaves {one} tokens to train on, and seq_len "
                                    f"{self.seq_len} needs at least {self.seq_len + 1}")
        self.pairs = one - 1
        self.windows = self.pairs // self.seq_len
        # Every run of seq_len inputs, and of targets, around the end to the beginning.
        self.runs = [torch.cat((tokens[k : self.pairs + k], tokens[k : self.seq_len + k]))
                     .unfold(0, self.seq_len, 1) for k in (0, 1)]

    def windows_of_valid(self):
        targets = len(self.valid) - 1
        return -(-targets // self.seq_len) if targets > 0 else 0

    def places(self, first, count):
        """Where samples first … first + count − 1 begin."""
        skip = first - self.block_first
        if not 0 <= skip <= len(self.block) - count:
            size, parts, at = max(count, min(BLOCK, self.windows)), [], first
            while at < first + size:
                epoch, number = divmod(at, self.windows)
                end = min(self.windows, number + first + size - at)
                key = mix(self.seed ^ mix(epoch))
                window = permute(torch.arange(number, end), self.windows, key)
                parts.append((mix(key) % self.pairs + window * self.seq_len) % self.pairs)
                at += end - number
            self.block_first, self.block, skip = first, torch.cat(parts), 0
        return self.block[skip : skip + count]

    def real(self, first, count):
        """How many of samples first … first + count − 1 come before the end."""
        return max(0, min(count, self.end - first))

    def training_batch(self, first, out):
        """Samples `first` … into `out`, int64 [inputs and targets, batch, seq_len].
        Rows past the end are no samples: their targets are −1."""
        real = self.real(first, out.size(1))
        if real:
            at = self.places(first, real)
            for k in (0, 1):
                out[k, :real].copy_(self.runs[k].index_select(0, at))
        out[0, real:] = 0
        out[1, real:] = -1

    def evaluation_batch(self, first, out):
        """Windows `first` … of the validation split; targets past its end are −1.
        Returns how many are real."""
        inputs, targets = out[0].view(-1), out[1].view(-1)
        at = first * self.seq_len
        real = max(0, min(len(self.valid) - 1 - at, len(inputs)))
        inputs.zero_()
        targets.fill_(-1)
        inputs[:real] = self.valid[at : at + real]
        targets[:real] = self.valid[at + 1 : at + 1 + real]
        return real
