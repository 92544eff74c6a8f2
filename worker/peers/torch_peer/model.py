"""The two model families as worker/model.c builds them: the same parameters under the
same names (Hugging Face's, with q, k, v and gate, up as one matrix each), filled with
the same initial values."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from .data import MASK, mix, mix_all, signed

EPSILON = 1e-5
ROPE_THETA = 10000.0
INIT_STD = 0.02
CHUNK = 1 << 20  # parameters filled at a time; even


class Rotary(nn.Module):
    """Rotary positions over [B, H, T, D]: element i turns with element i + D/2."""

    def __init__(self, length, dim, device):
        super().__init__()
        half = torch.arange(dim // 2, dtype=torch.float64, device=device)
        angle = torch.outer(torch.arange(length, dtype=torch.float64, device=device),
                            ROPE_THETA ** (-2 * half / dim))
        self.cos, self.sin = angle.cos().float(), angle.sin().float()

    def forward(self, x):
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class SelfAttention(nn.Module):
    def __init__(self, p, names, bias, attend, rotary):
        super().__init__()
        c, self.dim = p["d_model"], p["d_model"] // p["heads"]
        self.parts = (p["heads"], p["kv_heads"], p["kv_heads"])
        self.into, self.out = names
        self.add_module(self.into, nn.Linear(c, sum(self.parts) * self.dim, bias=bias))
        self.add_module(self.out, nn.Linear(c, c, bias=bias))
        # In a tuple: they hold no parameters, and all blocks have the same ones.
        self.shared = (attend, rotary)

    def forward(self, x):
        attend, rotary = self.shared
        qkv = getattr(self, self.into)(x)
        qkv = qkv.view(*x.shape[:2], sum(self.parts), self.dim).transpose(1, 2)
        q, k, v = qkv.split(self.parts, dim=1)
        if rotary is not None:
            q, k = rotary(q), rotary(k)
        y = attend(q, k, v).transpose(1, 2).reshape(x.shape)
        return getattr(self, self.out)(y)


class GptBlock(nn.Module):
    def __init__(self, p, attend, rotary):
        super().__init__()
        c = p["d_model"]
        self.ln_1 = nn.LayerNorm(c, eps=EPSILON)
        self.attn = SelfAttention(p, ("c_attn", "c_proj"), True, attend, rotary)
        self.ln_2 = nn.LayerNorm(c, eps=EPSILON)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(c, p["d_ff"]),
                                  "c_proj": nn.Linear(p["d_ff"], c)})

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        hidden = F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](hidden)


class LlamaBlock(nn.Module):
    def __init__(self, p, attend, rotary):
        super().__init__()
        c, ff = p["d_model"], p["d_ff"]
        self.input_layernorm = nn.RMSNorm(c, eps=EPSILON)
        self.self_attn = SelfAttention(p, ("qkv_proj", "o_proj"), False, attend, rotary)
        self.post_attention_layernorm = nn.RMSNorm(c, eps=EPSILON)
        self.mlp = nn.ModuleDict({"gate_up_proj": nn.Linear(c, 2 * ff, bias=False),
                                  "down_proj": nn.Linear(ff, c, bias=False)})

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        gate, up = self.mlp["gate_up_proj"](self.post_attention_layernorm(x)).chunk(2, -1)
        return x + self.mlp["down_proj"](F.silu(gate) * up)


class Model(nn.Module):
    """Tokens in; logits, loss, or an evaluation's sums out."""

    def __init__(self, p, vocab, attend, rotary):
        super().__init__()
        c = p["d_model"]
        self.gpt = p["arch"] == "gpt"
        self.segment = p["checkpoint_every"] if p["checkpoint"] == "block" else 0
        block = GptBlock if self.gpt else LlamaBlock
        blocks = nn.ModuleList(block(p, attend, rotary) for _ in range(p["layers"]))
        if self.gpt:
            self.transformer = nn.ModuleDict({
                "wte": nn.Embedding(vocab, c), "wpe": nn.Embedding(p["seq_len"], c),
                "h": blocks, "ln_f": nn.LayerNorm(c, eps=EPSILON)})
        else:
            self.model = nn.ModuleDict({
                "embed_tokens": nn.Embedding(vocab, c), "layers": blocks,
                "norm": nn.RMSNorm(c, eps=EPSILON)})
            self.lm_head = nn.Linear(c, vocab, bias=False)

    def run_blocks(self, blocks, x):
        if not (self.segment and self.training):
            for block in blocks:
                x = block(x)
            return x
        for first in range(0, len(blocks), self.segment):
            def run(x, part=blocks[first : first + self.segment]):
                for block in part:
                    x = block(x)
                return x
            x = checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
        return x

    def logits(self, tokens):
        if self.gpt:
            t = self.transformer
            x = t["wte"](tokens) + t["wpe"].weight[: tokens.size(1)]
            x = t["ln_f"](self.run_blocks(t["h"], x))
            return F.linear(x, t["wte"].weight)
        m = self.model
        x = self.run_blocks(m["layers"], m["embed_tokens"](tokens))
        return self.lm_head(m["norm"](x))

    def forward(self, tokens, targets):
        """The sum of the real targets' losses over the number of all: none may be real."""
        logits = self.logits(tokens).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1,
                               reduction="sum") / targets.numel()

    def evaluate(self, tokens, targets):
        """Sums over the real targets: of losses, and of right predictions. Row by row:
        evaluation should need no more memory than training."""
        sums = torch.zeros(2, device=tokens.device)
        for logits, wanted in zip(self.logits(tokens), targets):
            logits = logits.float()
            sums[0] += F.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum")
            sums[1] += (logits.argmax(-1) == wanted).sum()
        return sums


# -- initial values ----------------------------------------------------------------

def uniform_at(key, number):
    """The upper 53 bits of splitmix64's value `number` of the sequence `key`."""
    start = number * signed(0x9E3779B97F4A7C15) + signed(key)
    return ((mix_all(start) >> 11) & ((1 << 53) - 1)).double()


def key_of(name, seed):
    key = 0xCBF29CE484222325  # FNV-1a
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    return mix((key + mix(seed) * 0x9E3779B97F4A7C15) & MASK)


def fill_normal(values, key, std):
    """worker/parameters.c's normal values: Box and Muller's, two at a time."""
    for first in range(0, len(values), CHUNK):
        size = min(CHUNK, len(values) - first)
        even = torch.arange(first, first + size, 2, device=values.device)
        radius = (-2 * ((uniform_at(key, even) + 1) * 2.0**-53).log()).sqrt() * std
        angle = uniform_at(key, even + 1) * 2.0**-53 * (2 * math.pi)
        pairs = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)
        values[first : first + size] = pairs.flatten()[:size].float()


@torch.no_grad()
def fill(model, layers, seed):
    """GPT-2's rule: normal(0, 0.02), projections into the residual stream scaled by
    1 ÷ √(2 layers), norms 1, biases 0; the very values of the native workers."""
    for name, value in model.named_parameters():
        if value.dim() == 1:
            value.fill_(0.0 if name.endswith(".bias") else 1.0)
            continue
        residual = name.endswith(("c_proj.weight", "o_proj.weight", "down_proj.weight"))
        # In float, as it is there.
        std = torch.tensor(INIT_STD) / torch.tensor(2.0 * layers if residual else 1).sqrt()
        fill_normal(value.view(-1), key_of(name, seed), std.item())
