"""A training run and what it measures, step for step as worker/train.c has it.

On a GPU the host may be one step ahead: a step's numbers are read once the next one is
queued, and steps are timed from end to end by device events. The timed window is
synchronised at both ends and includes the loading of data.
"""

import math
import os
import time

import torch

from . import attention, data, engine, memory, telemetry
from .attempt import Failure

DIVERGED = 1.2  # a final loss above so many times the first is no result
INSTRUMENTED = 5


def clock_ms():
    return time.monotonic() * 1e3


def quantile(values, q):
    """Between neighbours by linear interpolation."""
    values = sorted(values)
    position = q * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (position - below) * (values[above] - values[below])


def rate(p, step, steps):
    """The learning rate of step `step` (0 …), as worker/schedule.c has it."""
    lr, lowest, warmup = p["lr"], p["lr_min"], p["lr_warmup"]
    step = min(step, steps - 1)
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    if p["lr_schedule"] == "constant":
        return lr
    gone = (step - warmup) / (steps - warmup)
    share = 0.5 * (1 + math.cos(math.pi * gone)) if p["lr_schedule"] == "cosine" \
        else 1 - gone
    return lowest + share * (lr - lowest)


def set_modes(p, device):
    on = p["deterministic"] == "on"
    torch.use_deterministic_algorithms(on)
    # Determinism needs no filling of fresh memory, and it would cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_float32_matmul_precision("high" if p["precision"] == "tf32" else "highest")
    torch.set_num_threads(p["threads"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if p["memory_limit"]:
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(
                min(1.0, p["memory_limit"] / total), device)


class Trainer:
    def __init__(self, a, p, ranks):
        self.a, self.p, self.ranks, self.device = a, p, ranks, ranks.device
        self.step_ms = []
        self.first_loss = self.final_loss = math.nan
        self.last = (math.nan, math.nan, 1.0)  # loss, norm, scale
        self.skipped = 0
        self.evaluation = None
        self.phases, self.alone = ({name: [] for name in engine.PHASES}
                                   for _ in range(2))
        self.marks = None
        self.watch = telemetry.Watch(self.device)

    # -- start --

    def start(self):
        a, p = self.a, self.p
        engine.refuse(p, self.device)
        set_modes(p, self.device)
        self.data = data.Data(p, os.environ.get("LM_DATA", ""))
        if p["vocab"] and p["vocab"] < self.data.vocab:
            raise Failure("failed", f"vocab {p['vocab']} is smaller than the tokenizer's "
                                    f"{self.data.vocab}: some tokens would have no row")
        self.vocab = p["vocab"] or self.data.vocab
        d = self.data
        a.send("facts", data=d.source, tokenizer=d.tokenizer, data_digest=d.digest,
               data_bytes=d.bytes, train_tokens=d.counts[0], val_tokens=d.counts[1],
               test_tokens=d.counts[2], tokenizer_vocab=d.vocab, vocab=self.vocab,
               threads=p["threads"], batch=p["batch"], torch=torch.__version__)
        self.steps, self.warmup = p["steps"], p["warmup_steps"]
        if p["epochs"]:
            d.end = p["epochs"] * d.windows
            self.steps = -(-d.end // (p["accumulate"] * p["batch"] * self.ranks.world))
        if self.warmup >= self.steps:
            raise Failure("failed", f"warmup_steps {self.warmup} leaves none of "
                                    f"{self.steps} steps to time")
        self.ranks.meet()
        self.peak = memory.Peak(self.device)
        self.engine = engine.Engine(p, self.ranks, self.vocab, p["batch"], clock_ms)

    # -- steps --

    def is_due(self, step):
        """Whether step `step` (1 …) is told about, which all ranks agree on."""
        return step % self.p["log_every"] == 0 or step in (1, self.steps)

    def report_step(self, number, stats, lr, ms):
        """Read what step `number` (0 …) did and tell where it is due."""
        a, step = self.a, number + 1
        loss, norm, scale = self.last = stats.read()
        a.step = step
        if number == 0:
            self.startup_ms = a.age_ms()
            self.first_loss = loss
        self.skipped += not math.isfinite(norm)
        if step == self.steps:
            self.final_loss = loss
        if not math.isfinite(loss):
            raise Failure("invalid", f"the loss of step {step} is not finite")
        due = self.is_due(step)
        if due or a.is_silent():
            fields = {"loss": loss} if due else {}
            a.send("step", step=step, lr=lr, grad_norm=norm, loss_scale=scale,
                   tokens=self.engine.tokens(self.data, number, step), ms=ms, **fields)

    def run_stretch(self, first, last, each_ms):
        """Steps [first, last) without a pause; their milliseconds in all."""
        self.engine.synchronize()
        self.ranks.barrier()
        began, mark, pending = clock_ms(), self.engine.now(), None

        def finish(number, stats, lr, begin, end):
            with self.ranks.meeting():
                stats.wait()
            ms = self.engine.between_ms(begin, end)
            each_ms.append(ms)
            self.report_step(number, stats, lr, ms)

        for number in range(first, last):
            lr = rate(self.p, number, self.steps)
            stats = self.engine.step(self.data, number, lr, self.is_due(number + 1))
            end = stats.end if stats.end is not None else clock_ms()
            if pending:
                finish(*pending)
            pending = (number, stats, lr, mark, end)
            mark = end
            if number == 0 or not self.engine.cuda:
                finish(*pending)
                pending = None
        if pending:
            finish(*pending)
        self.engine.synchronize()
        return clock_ms() - began

    def run_steps(self, first, last, each_ms):
        """As run_stretch(), with the evaluations between, whose time does not count."""
        every, total, timed = self.p["eval_every"], 0.0, first >= self.warmup
        while first < last:
            stop = min(last, first + every - first % every) if every else last
            if timed:
                self.watch.resume()
            total += self.run_stretch(first, stop, each_ms)
            if timed:
                self.watch.pause()
            if every and stop % every == 0 and stop < self.steps:
                self.evaluate()
            first = stop
        return total

    def evaluate(self):
        p, d, a = self.p, self.data, self.a
        windows = d.windows_of_valid()
        if p["eval_batches"]:
            windows = min(windows, p["eval_batches"] * (p["global_batch"] or p["batch"]))
        batches = -(-windows // p["batch"])
        out = torch.empty((2, p["batch"], p["seq_len"]), dtype=torch.int64)
        loss = right = tokens = 0
        for b in range(self.ranks.rank, batches, self.ranks.world):
            tokens += d.evaluation_batch(b * p["batch"], out)
            sums = self.engine.evaluate(out)
            loss, right = loss + sums[0], right + sums[1]
            if a.is_silent():
                a.send("progress", phase="eval", done=b + 1, of=batches)
        loss, right, tokens = self.ranks.sum([loss, right, tokens])
        if not tokens:
            return None
        loss, accuracy = loss / tokens, right / tokens
        if not math.isfinite(loss):
            raise Failure("invalid", "the validation loss is not finite")
        ppl = math.exp(loss) if loss < 700 else math.inf
        a.send("eval", step=a.step, loss=loss, ppl=ppl, accuracy=accuracy,
               tokens=int(tokens))
        return {"val_loss": loss, "val_ppl": ppl, "val_accuracy": accuracy,
                "val_tokens": int(tokens)}

    def instrument_step(self, number, marks, alone):
        """Milliseconds by phase of one step that no other runs beside."""
        timeline = engine.Timeline(self.engine, marks)
        self.engine.synchronize()
        self.ranks.barrier()
        stats = self.engine.step(self.data, number, rate(self.p, number, self.steps),
                                 False, timeline, alone)
        with self.ranks.meeting():
            sums = timeline.read()
        stats.read()
        return sums

    def instrument(self):
        """Where the time of a step goes. The model is not used afterwards: steps in
        which ranks keep to themselves part their weights."""
        # What a compiler's graphs hold, the allocator's marks do not show.
        known = self.engine.cuda and not self.engine.graphs
        end, self.data.end = self.data.end, math.inf  # these steps are whole
        for i in range(INSTRUMENTED):
            number = self.steps + i
            if self.engine.wrapper.hidden_in:
                for name, ms in self.instrument_step(number, None, True).items():
                    self.alone[name].append(ms)
            self.engine.clear_gradients()
            self.marks = memory.Marks(self.device) if known else None
            for name, ms in self.instrument_step(number, self.marks, False).items():
                self.phases[name].append(ms)
            if self.a.is_silent():
                self.a.send("progress", phase="instrument", done=i + 1, of=INSTRUMENTED)
        self.data.end = end

    def phase_fields(self):
        """Medians. Communication hides in some phases of some wrappers: there, what they
        take without it is their own, and what it adds is exposed. That counts copies
        into buckets, and a slower backward beside it, as communication."""
        fields = {name: quantile(values, 0.5) for name, values in self.phases.items()}
        for name in self.engine.wrapper.hidden_in:
            alone = quantile(self.alone[name], 0.5)
            fields["comm_exposed_ms"] += max(0.0, fields[name] - alone)
            fields[name] = min(alone, fields[name])
        return fields

    def check_outcome(self):
        if self.final_loss > DIVERGED * self.first_loss:
            raise Failure("invalid", f"diverged: the loss ended at {self.final_loss:.4g}, "
                                     f"above {DIVERGED} times its first, "
                                     f"{self.first_loss:.4g}")

    # -- result --

    def memory_fields(self, peak, witness):
        owners = self.engine.held_bytes()
        fields = {"peak_bytes": peak, "witness_bytes": witness}
        if self.marks:
            owners["activations"] = self.marks.forward - self.marks.before
            owners["scratch"] = max(0, peak - sum(owners.values()))
            fields["forward_bytes"] = self.marks.forward
            fields["backward_bytes"] = self.marks.backward
        for owner, size in owners.items():
            self.a.send("memory", kind=owner, measured_bytes=size, device_bytes=witness)
            fields[owner + "_bytes"] = size
        return fields

    def result(self, warmup_ms, window_ms, memory_fields):
        timed = self.data, self.warmup, self.steps
        tokens = self.engine.tokens(*timed)
        all_tokens = self.engine.tokens_of_all(*timed)
        median, p10, p90 = (quantile(self.step_ms, q) for q in (0.5, 0.1, 0.9))
        fields = {
            "tokens_per_s": all_tokens / window_ms * 1e3,
            "window_tokens": tokens,
            "window_ms": window_ms, "window_steps": self.steps - self.warmup,
            "step_ms_median": median,
            "step_ms_p10": p10, "step_ms_p90": p90, "step_noise": (p90 - p10) / median,
            "startup_ms": self.startup_ms, "train_s": (warmup_ms + window_ms) / 1e3,
            "s_per_epoch": self.data.counts[0] / all_tokens * window_ms / 1e3,
            "tokens_trained": self.engine.tokens(self.data, 0, self.steps),
            "params": self.engine.parameters(),
            "first_loss": self.first_loss, "final_loss": self.final_loss,
            "flops_per_token": engine.flops_per_token(self.p, self.vocab, False),
            "hfu_flops_per_token": engine.flops_per_token(self.p, self.vocab, True),
            "loss_scale": self.last[2], "skipped_steps": self.skipped}
        if self.ranks.world > 1:
            fields["comm_bytes"] = self.steps * self.engine.reduced_bytes()
        fields.update(self.phase_fields())
        fields.update(self.watch.fields(tokens, window_ms))
        fields.update(memory_fields)
        fields.update(self.evaluation or {})
        self.a.send("result", **fields)

    def run(self):
        # Around forward and compilation alike: a compiled graph keeps what it was
        # traced with.
        with attention.forced(self.p["kernel"]):
            self.run_phases()

    def run_phases(self):
        a = self.a
        a.phase("start")
        self.start()
        a.phase("warmup")
        warmup_ms = self.run_steps(0, self.warmup, [])
        a.phase("measure")
        window_ms = self.run_steps(self.warmup, self.steps, self.step_ms)
        self.check_outcome()
        peak = self.peak.bytes()
        witness = self.watch.own_bytes() or memory.witness(self.device)
        a.phase("eval")
        self.evaluation = self.evaluate()
        a.phase("instrument")
        self.instrument()
        a.phase("end")
        self.ranks.barrier()
        self.result(warmup_ms, window_ms, self.memory_fields(peak, witness))
        self.ranks.leave()
