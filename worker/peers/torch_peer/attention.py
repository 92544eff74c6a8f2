"""Attention by parameter `kernel`: naive by hand, the others by PyTorch's own."""

import re
import warnings

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attempt import unsupported

BACKENDS = {"naive": SDPBackend.MATH,  # what a compiler may make of the steps by hand
            "fused": SDPBackend.EFFICIENT_ATTENTION,
            "flash": SDPBackend.FLASH_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION}

REFUSALS = "No available kernel|No viable backend|cuDNN Frontend error|not support"


def forced(kernel):
    """A context in which nothing but `kernel` may serve."""
    return sdpa_kernel(BACKENDS[kernel])


class Attention(torch.nn.Module):
    """Causal attention over q [B, H, T, D] and k, v [B, G, T, D]; query head h reads
    key head h × G ÷ H."""

    def __init__(self, params, device):
        super().__init__()
        length = params["seq_len"]
        self.kernel = params["kernel"]
        self.window = params["window"] if params["window"] < length else 0
        self.groups = params["heads"] // params["kv_heads"]
        if self.window and self.kernel in ("flash", "cudnn"):
            raise unsupported(f"kernel {self.kernel}: PyTorch's has no sliding window")
        self.mask = None
        if self.window or self.kernel == "naive":
            row = torch.arange(length, device=device)[:, None]
            column = torch.arange(length, device=device)[None, :]
            self.mask = (column <= row) & (column > row - (self.window or length))

    def forward(self, q, k, v):
        # PyTorch's memory-efficient attention knows no grouped heads.
        repeated = self.groups > 1 and self.kernel in ("naive", "fused")
        if repeated:
            k = k.repeat_interleave(self.groups, dim=1)
            v = v.repeat_interleave(self.groups, dim=1)
        if self.kernel == "naive":
            scores = (q @ k.transpose(-2, -1)) * q.size(-1) ** -0.5
            scores = scores.masked_fill(~self.mask, float("-inf"))
            return F.softmax(scores, dim=-1).to(v.dtype) @ v
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=self.mask, is_causal=self.mask is None,
            enable_gqa=self.groups > 1 and not repeated)


def check(attention, params, dtype, device):
    """Refuse, in PyTorch's words, what the kernel does not serve on this device."""
    length, dim = params["seq_len"], params["d_model"] // params["heads"]
    heads = params["heads"] + 2 * params["kv_heads"]
    qkv = torch.zeros(1, length, heads, dim, dtype=dtype, device=device,
                      requires_grad=True)
    parts = (params["heads"], params["kv_heads"], params["kv_heads"])
    with warnings.catch_warnings(record=True) as said, forced(params["kernel"]):
        warnings.simplefilter("always")
        try:
            out = attention(*qkv.transpose(1, 2).split(parts, dim=1))
            out.backward(torch.ones_like(out))
        except RuntimeError as error:
            if not re.search(REFUSALS, str(error)):
                raise
            reasons = [str(w.message).split(" (Triggered")[0].rstrip(".") for w in said]
            raise unsupported(f"kernel {params['kernel']}: " + "; ".join(
                reasons or [str(error).split("\n")[0].rstrip(".")])) from error
