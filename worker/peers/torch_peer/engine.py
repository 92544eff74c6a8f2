"""The engine: model, precision, optimizer and step, as a PyTorch user would write them.

fp32, tf32    fp32 weights; tf32 lets matrix products use it
bf16, fp16    autocast over fp32 weights and gradients; fp16 under a GradScaler
grad: bf16    weights and gradients held in bf16, AdamW over fp32 masters of them
"""

import contextlib

import torch
from torch.nn.utils import clip_grad_norm_, get_total_norm

from . import attention, model, wrapper
from .attempt import unsupported

LOSS_SCALE, GROWTH_STEPS = 65536.0, 2000
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
PHASES = ("data_ms", "forward_ms", "backward_ms", "comm_exposed_ms", "optimizer_ms")


def refuse(p, device):
    """What no PyTorch engine serves here."""
    if p["precision"] == "tf32" and device.type == "cpu":
        raise unsupported("precision tf32: PyTorch has it on GPUs")
    if p["recompute"] != "none":
        raise unsupported(f"recompute {p['recompute']}: PyTorch recomputes whole blocks "
                          "only (checkpoint: block)")
    if p["graph"] != "off":
        raise unsupported("graph on: PyTorch's whole-step graphs are not served; "
                          "compile_mode reduce-overhead uses graphs of its own")


class Stats:
    """What one step did, on its way to the host."""

    def __init__(self, values, cuda):
        self.values = values
        self.end = None
        if cuda:
            self.values = torch.empty(values.shape, pin_memory=True)
            self.values.copy_(values, non_blocking=True)
            self.end = torch.cuda.Event(enable_timing=True)
            self.end.record()

    def wait(self):
        if self.end is not None:
            self.end.synchronize()

    def read(self):
        """loss, grad_norm and loss_scale, once the step has ended."""
        self.wait()
        return self.values.tolist()


class Timeline:
    """Device events along a step, and the time between them by phase."""

    def __init__(self, engine, memory):
        self.engine, self.marks = engine, []
        self.memory = memory  # a memory.Marks; None where nobody can tell

    def mark(self, phase):
        self.marks.append((phase, self.engine.now()))

    def after_forward(self):
        if self.memory:
            self.memory.after_forward()

    def after_backward(self):
        if self.memory:
            self.memory.after_backward()

    def read(self):
        self.engine.synchronize()
        sums = dict.fromkeys(PHASES, 0.0)
        for (phase, begin), (_, end) in zip(self.marks, self.marks[1:]):
            sums[phase] += self.engine.between_ms(begin, end)
        return sums


class Engine:
    def __init__(self, p, ranks, vocab, batch, clock_ms):
        self.p, self.ranks, self.batch, self.clock_ms = p, ranks, batch, clock_ms
        self.device = device = ranks.device
        self.wrapper = wrapper.create(p, ranks)
        self.cuda = device.type == "cuda"
        self.accumulate = p["accumulate"]
        low = LOW.get(p["precision"])
        self.low_weights = p["grad"] == "bf16"
        self.autocast_type = None if self.low_weights else low
        self.scaler = torch.amp.GradScaler(
            device.type, init_scale=LOSS_SCALE, growth_interval=GROWTH_STEPS) \
            if p["precision"] == "fp16" else None
        self.one = torch.ones((), device=device)
        self.build_model(vocab, low or torch.float32)
        self.build_optimizer()
        self.build_step()
        self.stage = torch.empty(
            (3, self.accumulate, 2, batch, p["seq_len"]), dtype=torch.int64,
            pin_memory=self.cuda)

    # -- create --

    def build_model(self, vocab, dtype):
        p, device = self.p, self.device
        attend = attention.Attention(p, device)
        attention.check(attend, p, dtype, device)
        rotary = model.Rotary(p["seq_len"], p["d_model"] // p["heads"], device) \
            if p["arch"] == "llama" else None
        with torch.device("meta"):
            self.model = model.Model(p, vocab, attend, rotary)
        self.model.to_empty(device=device)
        model.fill(self.model, p["layers"], p["seed"])

    def build_optimizer(self):
        p = self.p
        self.weights = list(self.model.parameters())
        self.updated = self.weights
        if self.low_weights:
            self.updated = [w.detach().clone().requires_grad_() for w in self.weights]
            self.model.to(torch.bfloat16)
        self.wrapped = self.wrapper.around(self.model)
        matrices = [w for w in self.updated if w.dim() == 2]
        vectors = [w for w in self.updated if w.dim() == 1]
        self.optimizer = self.wrapper.optimizer(
            [{"params": matrices, "weight_decay": p["weight_decay"]},
             {"params": vectors, "weight_decay": 0.0}],
            lr=p["lr"], betas=(p["beta1"], p["beta2"]), eps=1e-8, fused=True)

    def build_step(self):
        mode = self.p["compile_mode"]
        self.forward = self.wrapped
        self.graphs = False
        if self.p["engine"] == "torch_compile":
            self.graphs = self.cuda and mode != "default"
            self.forward = torch.compile(
                self.wrapped, mode=None if mode == "default" else mode, dynamic=False)

    # -- steps --

    def autocast(self):
        if self.autocast_type is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast_type)

    def clear_gradients(self, keep=False):
        if self.accumulate == 1 and not keep:
            self.model.zero_grad(set_to_none=True)
            return
        # A compiler's graph would write the next micro-step's over gradients of its own.
        for w in self.weights:
            if w.grad is None:
                w.grad = torch.zeros_like(w)
            else:
                w.grad.zero_()

    def take_gradients(self):
        """Hand low gradients to the masters, in fp32."""
        if self.low_weights:
            for master, w in zip(self.updated, self.weights):
                master.grad = w.grad.float()
                if self.accumulate == 1:
                    w.grad = None

    def update(self, lr, alone):
        """Clip and step; the gradient's norm."""
        self.take_gradients()
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        clip = self.p["grad_clip"]
        if clip > 0:
            norm = clip_grad_norm_(self.updated, clip)
        else:
            norm = get_total_norm([w.grad for w in self.updated])
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if alone:
            self.wrapper.local(self.optimizer).step()
        elif self.scaler:
            self.scaler.step(self.optimizer)
        else:
            self.optimizer.step()
        if self.scaler:
            self.scaler.update()
        if self.low_weights:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.updated)
            for master in self.updated:
                master.grad = None
        return norm

    def micro_step(self, data, first, staged, weight, timeline):
        """Its loss, times `weight`, of which it leaves the gradients."""
        if timeline:
            timeline.mark("data_ms")
        data.training_batch(first, staged)
        inputs, targets = staged.to(self.device, non_blocking=True).unbind()
        if timeline:
            timeline.mark("forward_ms")
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with self.autocast():
            loss = self.forward(inputs, targets)
        if timeline:
            timeline.after_forward()
            timeline.mark("backward_ms")
        share = loss if weight == 1 else loss * weight
        with self.ranks.meeting():
            (self.scaler.scale(share) if self.scaler else share).backward()
        if timeline:
            timeline.after_backward()
        return share.detach()

    def place(self, number, micro):
        """Which batch of all is this rank's in a micro-step."""
        return (number * self.accumulate + micro) * self.ranks.world + self.ranks.rank

    def tokens(self, data, first, last):
        """This rank's real ones of steps [first, last)."""
        rows = sum(data.real(self.place(number, micro) * self.batch, self.batch)
                   for number in range(first, last) for micro in range(self.accumulate))
        return rows * self.p["seq_len"]

    def tokens_of_all(self, data, first, last):
        samples = self.accumulate * self.ranks.world * self.batch
        return data.real(first * samples, (last - first) * samples) * self.p["seq_len"]

    def step(self, data, number, lr, due, timeline=None, alone=False):
        """Queue step `number` (0 …); its Stats, the loss a mean over the ranks where it
        is `due`. At most two may be under way. `alone`: without other ranks."""
        # Where buckets hold the gradients, they hold them in a step alone too.
        self.clear_gradients(keep=alone)
        total = torch.zeros((), device=self.device)
        # Means are over what is real, on all ranks: epochs may end within a step.
        whole = self.accumulate * self.ranks.world * self.batch * self.p["seq_len"]
        weight = whole / self.tokens_of_all(data, number, number + 1) / self.accumulate
        for micro in range(self.accumulate):
            place = self.place(number, micro)
            shares = not alone and micro == self.accumulate - 1
            with contextlib.nullcontext() if shares else self.wrapper.hold():
                total += self.micro_step(data, place * self.batch,
                                         self.stage[number % 3, micro], weight,
                                         timeline)
        if not alone and self.ranks.world > 1:
            if timeline:
                timeline.mark("comm_exposed_ms")
            with self.ranks.meeting():
                self.wrapper.reduce(self.weights)
        if timeline:
            timeline.mark("optimizer_ms")
        with self.ranks.meeting():
            norm = self.update(lr, alone)
        if timeline:
            timeline.mark(None)
        if due:
            self.ranks.mean_(total)
        scale = self.scaler.scale(self.one) if self.scaler else self.one
        return Stats(torch.stack((total, norm.float(), scale)), self.cuda)

    @torch.no_grad()
    def evaluate(self, inputs_and_targets):
        """Sums of losses and of right predictions of one batch. Synchronises."""
        inputs, targets = inputs_and_targets.to(self.device).unbind()
        self.model.eval()
        with self.autocast():
            sums = self.model.evaluate(inputs, targets)
        self.model.train()
        return sums.tolist()

    # -- time --

    def now(self):
        """A moment on the device's timeline, for between_ms()."""
        if not self.cuda:
            return self.clock_ms()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between_ms(self, begin, end):
        return begin.elapsed_time(end) if self.cuda else end - begin

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()

    # -- what it holds --

    def held_bytes(self):
        """Bytes by owner, gradients as large as backward leaves them."""
        def size(tensors):
            return sum(t.numel() * t.element_size() for t in tensors)

        own = self.wrapper.local(self.optimizer)
        state = [t for s in own.state.values() for t in s.values() if torch.is_tensor(t)]
        masters = self.updated if self.low_weights else []
        return {"params": size(self.weights), "grads": size(self.weights),
                "optimizer": size(state) + size(masters)}

    def reduced_bytes(self):
        """Bytes of gradients that a step hands to communication."""
        return sum(w.numel() * w.element_size() for w in self.weights)

    def parameters(self):
        return sum(w.numel() for w in self.weights)


def flops_per_token(p, vocab, recomputation):
    """worker/shape.c's: 6 × parameters in matrix products and 12 × attention, and what
    checkpointing computes again, but for a segment's last product."""
    c, ff, layers, length = p["d_model"], p["d_ff"], p["layers"], p["seq_len"]
    qkv = (p["heads"] + 2 * p["kv_heads"]) * (c // p["heads"]) * c
    block = qkv + c * c + c * ff * (2 if p["arch"] == "gpt" else 3)
    window = min(p["window"] or length, length)
    keys = (window * (window + 1) / 2 + (length - window) * window) / length
    flops = 6.0 * (layers * block + vocab * c) + 12.0 * layers * c * keys
    if recomputation and p["checkpoint"] == "block":
        segments = -(-layers // p["checkpoint_every"])
        flops += 2.0 * (layers * block - segments * c * ff) + 4.0 * layers * c * keys
    return flops
