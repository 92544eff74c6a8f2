"""How ranks share gradients, by parameter `ddp`, each as PyTorch's users have it:

none      one rank
naive     one all-reduce per parameter after backward
flat      one all-reduce of all gradients, flattened into a buffer and back
bucketed  DistributedDataParallel: buckets are reduced while backward still runs
sharded   ZeroRedundancyOptimizer over it: each rank updates some of the parameters, and
          sends them to the others
"""

import contextlib

import torch
import torch.distributed as dist
# One all-reduce of many tensors is built of these two, here as elsewhere.
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.parallel import DistributedDataParallel

from .attempt import unsupported

DEFAULT_BUCKET_MB = 25
LEAST_COMPILED_MB = 1


class Wrapper:
    """`none`, and what the others start from."""

    # Phases in which communication hides behind, or mixes with, other work: what it
    # adds to them is found by steps without it.
    hidden_in = ()

    def __init__(self, p, ranks):
        self.p, self.ranks = p, ranks

    def around(self, model):
        """What to call for the forward pass of `model`."""
        return model

    def hold(self):
        """A context for a micro-step whose gradients stay this rank's."""
        return contextlib.nullcontext()

    def reduce(self, weights):
        """After backward: each gradient becomes its mean over the ranks."""

    def optimizer(self, groups, **options):
        return torch.optim.AdamW(groups, **options)

    def local(self, optimizer):
        """The part of `optimizer` that communicates nothing."""
        return optimizer


class Naive(Wrapper):
    def reduce(self, weights):
        for w in weights:
            dist.all_reduce(w.grad)
            w.grad.div_(self.ranks.world)


class Flat(Wrapper):
    def reduce(self, weights):
        grads = [w.grad for w in weights]
        flat = _flatten_dense_tensors(grads)
        dist.all_reduce(flat)
        flat.div_(self.ranks.world)
        torch._foreach_copy_(grads, _unflatten_dense_tensors(flat, grads))


class Bucketed(Wrapper):
    hidden_in = ("backward_ms",)

    def around(self, model):
        # At its own default PyTorch makes the first bucket smaller, so it is not named.
        # Every parameter has a gradient in every step: static_graph would gain nothing.
        asked, device = self.p["bucket_mb"], self.ranks.device
        if self.p["engine"] == "torch_compile":
            self.settle_compiler(asked)
        self.module = DistributedDataParallel(
            model, device_ids=[device.index] if device.type == "cuda" else None,
            bucket_cap_mb=None if asked == DEFAULT_BUCKET_MB else asked,
            gradient_as_bucket_view=True)
        return self.module

    def settle_compiler(self, bucket_mb):
        """It cuts its graph at the buckets, but for one that holds checkpoints."""
        if self.p["checkpoint"] == "block":
            torch._dynamo.config.optimize_ddp = False
        elif bucket_mb < LEAST_COMPILED_MB:
            raise unsupported(f"bucket_mb {bucket_mb:g}: PyTorch's compiler cuts its "
                              f"graph at buckets of {LEAST_COMPILED_MB} MiB or more")

    def hold(self):
        return self.module.no_sync()


class Sharded(Bucketed):
    hidden_in = ("backward_ms", "optimizer_ms")

    def optimizer(self, groups, **options):
        from torch.distributed.optim import ZeroRedundancyOptimizer  # takes a second

        return ZeroRedundancyOptimizer(
            groups, optimizer_class=torch.optim.AdamW, parameters_as_bucket_view=True,
            **options)

    def local(self, optimizer):
        return optimizer.optim


KINDS = {"none": Wrapper, "naive": Naive, "flat": Flat, "bucketed": Bucketed,
         "sharded": Sharded}


def create(p, ranks):
    return KINDS[p["ddp"]](p, ranks)
