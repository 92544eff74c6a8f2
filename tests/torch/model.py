"""The project's two model families in plain PyTorch, for cross-checks.

Written from the papers and from Hugging Face's definitions, not from our C: agreement
between the two is evidence only as long as neither copies the other. Parameters come as
a dictionary under Hugging Face's names; every matrix is [out, in], as nn.Linear has it.
Queries, keys and values are one matrix, in this order, and so are gate and up.
"""

import math

import torch
import torch.nn.functional as F

EPSILON = 1e-5
ROPE_THETA = 10000.0


class Shape:
    """What a model needs besides its parameters."""

    def __init__(self, arch, layers, d_model, heads, kv_heads=0, window=0,
                 manual=False):
        self.arch = arch
        self.layers = layers
        self.d_model = d_model
        self.heads = heads
        self.kv_heads = kv_heads or heads
        self.window = window
        self.manual = manual  # attention in plain operations, not PyTorch's own
        self.head_dim = d_model // heads


def attention_mask(length, window, device):
    """True where row i may look at column j: j <= i, and j > i - window where that is
    not 0."""
    row = torch.arange(length, device=device)[:, None]
    column = torch.arange(length, device=device)[None, :]
    mask = column <= row
    if window:
        mask &= column > row - window
    return mask


def attend(q, k, v, shape):
    """Causal attention over [B, T, heads, D]; query head h reads key head
    h * kv_heads // heads."""
    groups = shape.heads // shape.kv_heads
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if groups > 1:
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    mask = attention_mask(q.size(2), shape.window, q.device)
    if shape.manual:
        scores = q @ k.transpose(2, 3) * (1.0 / math.sqrt(shape.head_dim))
        out = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
    elif shape.window:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).flatten(2)


def split_heads(qkv, shape):
    """[B, T, (H + 2G) D] as queries, keys and values of [B, T, heads, D]."""
    heads = (shape.heads, shape.kv_heads, shape.kv_heads)
    return qkv.unflatten(2, (sum(heads), shape.head_dim)).split(heads, dim=2)


def rotate(x):
    """Rotary positions over [B, T, heads, D]: element i turns with element i + D/2. In
    fp32 at least, as Llama's authors do."""
    length, half = x.size(1), x.size(3) // 2
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    frequency = ROPE_THETA ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    cos = angle.cos().to(wide)[None, :, None, :]
    sin = angle.sin().to(wide)[None, :, None, :]
    a, b = wide[..., :half], wide[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def gpt(p, tokens, shape):
    """Logits [B, T, V] of a GPT: LayerNorm, GELU (tanh), learned positions, tied
    head."""
    width = (shape.d_model,)
    x = F.embedding(tokens, p["transformer.wte.weight"])
    x = x + p["transformer.wpe.weight"][: tokens.size(1)]
    for layer in range(shape.layers):
        name = f"transformer.h.{layer}."

        def linear(value, what):
            return F.linear(value, p[name + what + ".weight"], p[name + what + ".bias"])

        def norm(value, what):
            return F.layer_norm(value, width, p[name + what + ".weight"],
                                p[name + what + ".bias"], EPSILON)

        qkv = linear(norm(x, "ln_1"), "attn.c_attn")
        x = x + linear(attend(*split_heads(qkv, shape), shape), "attn.c_proj")
        hidden = F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh")
        x = x + linear(hidden, "mlp.c_proj")
    x = F.layer_norm(x, width, p["transformer.ln_f.weight"],
                     p["transformer.ln_f.bias"], EPSILON)
    return F.linear(x, p["transformer.wte.weight"])


def llama(p, tokens, shape):
    """Logits [B, T, V] of a Llama: RMSNorm, rotary positions, SwiGLU, grouped keys and
    values, untied head, no biases."""

    def norm(value, what):
        return F.rms_norm(value, (shape.d_model,), p[what + ".weight"], EPSILON)

    x = F.embedding(tokens, p["model.embed_tokens.weight"])
    for layer in range(shape.layers):
        name = f"model.layers.{layer}."

        def linear(value, what):
            return F.linear(value, p[name + what + ".weight"])

        qkv = linear(norm(x, name + "input_layernorm"), "self_attn.qkv_proj")
        q, k, v = split_heads(qkv, shape)
        out = attend(rotate(q), rotate(k), v, shape)
        x = x + linear(out, "self_attn.o_proj")
        h = norm(x, name + "post_attention_layernorm")
        gate, up = linear(h, "mlp.gate_up_proj").chunk(2, dim=-1)
        x = x + linear(F.silu(gate) * up, "mlp.down_proj")
    return F.linear(norm(x, "model.norm"), p["lm_head.weight"])


def gpt_parameters(shape, vocab, seq_len, d_ff, generator):
    """Fresh parameters by GPT-2's rule: normal(0, 0.02), projections into the residual
    stream scaled by 1 / sqrt(2 layers), norms 1, biases 0."""
    p = {}
    residual = 0.02 / math.sqrt(2 * shape.layers)

    def normal(name, *size, std=0.02):
        p[name] = torch.empty(size).normal_(0.0, std, generator=generator)

    def norm(name):
        p[name + ".weight"] = torch.ones(shape.d_model)
        p[name + ".bias"] = torch.zeros(shape.d_model)

    def linear(name, rows, columns, std=0.02):
        normal(name + ".weight", rows, columns, std=std)
        p[name + ".bias"] = torch.zeros(rows)

    c = shape.d_model
    normal("transformer.wte.weight", vocab, c)
    normal("transformer.wpe.weight", seq_len, c)
    for layer in range(shape.layers):
        name = f"transformer.h.{layer}."
        norm(name + "ln_1")
        linear(name + "attn.c_attn", 3 * c, c)
        linear(name + "attn.c_proj", c, c, std=residual)
        norm(name + "ln_2")
        linear(name + "mlp.c_fc", d_ff, c)
        linear(name + "mlp.c_proj", c, d_ff, std=residual)
    norm("transformer.ln_f")
    return p
