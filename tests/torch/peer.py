#!/usr/bin/env python3
"""The PyTorch worker against the native one, through the runner.

Each cell of a small matrix runs under both engines: the same data, by its digest, and
from the same initial weights the same losses, validation included, within float's
rounding. Two ranks, under every wrapper, train as one does on the joined batch, and as
two native ones; an epoch ends within the same step for both. A rank that waits for
another says so, and one that is stopped is named. Task allreduce tells its rows, and
finds a wrong sum. Then an interpreter without PyTorch: its cells are unsupported, with
a sentence, and what the other one measured is stale.
"""

import contextlib
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import types

HERE = os.path.dirname(os.path.abspath(__file__))
RUNNER = os.path.abspath(os.path.join(os.environ.get("LM_BUILD", "build"), "runner"))
TOLERANCE = 2e-5
JOINED_TOLERANCE = 1e-4  # sums in another order
# What only the native engine can know, as it plans its memory.
UNKNOWN = {"planned_bytes", "forward_bytes", "backward_bytes", "activations_bytes",
           "scratch_bytes", "library_bytes"}
MATRIX = """
description: Do both engines train alike?
baseline: gpt/engine=native
defaults: {device: cpu, threads: 1, layers: 2, d_model: 48, heads: 6, seq_len: 24,
  batch: 3, steps: 10, warmup_steps: 2, lr: 0.01, eval_batches: 4, start_s: 300,
  data: "stories:50kB:7"}
experiments:
  - name: gpt
    axes: {engine: [native, torch]}
  - name: window
    window: 7
    eval_every: 4
    lr_schedule: linear
    axes: {engine: [native, torch]}
  - name: llama
    arch: llama
    kv_heads: 2
    kernel: flash
    vocab: 300
    accumulate: 2
    checkpoint: block
    checkpoint_every: 2
    grad_clip: 0.1
    axes: {engine: [native, torch]}
  - name: recompute
    engine: torch
    recompute: act
  - name: tf32
    engine: torch
    precision: tf32
  - name: joined
    batch: 4
    eval_batches: 0
  - &ranks
    name: ranks_native
    ranks: 2
    ddp: bucketed
    batch: 2
    eval_batches: 0
    bucket_mb: 0.05
  - <<: *ranks
    name: ranks
    engine: torch
    zip:
      - ddp: [naive, flat, bucketed, bucketed, sharded]
        accumulate: [1, 2, 1, 2, 1]
        batch: [2, 1, 2, 1, 2]
  - name: ends
    ranks: 3
    ddp: bucketed
    batch: 4
    seq_len: 32
    eval_batches: 0
    epochs: 1
    data: "stories:20KB:7"
    axes: {engine: [native, torch], accumulate: [1, 2]}
  - name: allreduce
    task: allreduce
    engine: torch
    ranks: 2
    memory_limit: 1792MiB  # what PyTorch takes, and something that bounds the sizes
"""

failed = 0


def check(name, holds, why=""):
    global failed
    print(f"{'ok' if holds else 'not ok'} - {name}" + (f": {why}" if not holds else ""))
    failed += not holds


def runner(*arguments, python=sys.executable):
    environment = dict(os.environ, LM_PYTHON=python)
    environment.pop("LM_WORKER", None)
    return subprocess.run([RUNNER, *arguments], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def events(cell, rank=0):
    (folder,) = glob.glob(f"results/m/cells/{cell}-*")
    latest = max(glob.glob(folder + "/attempt-*"))
    with open(f"{latest}/rank{rank}.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def of(all_events, kind):
    return [e for e in all_events if e["event"] == kind]


def compare(cell):
    native, torch = (events(f"{cell}_engine={engine}") for engine in ("native", "torch"))
    facts = [of(each, "facts")[0] for each in (native, torch)]
    for name in ("data_digest", "data", "train_tokens", "val_tokens", "vocab", "batch"):
        check(f"{cell}: {name} is the same", facts[0][name] == facts[1][name],
              f"{facts[0][name]} against {facts[1][name]}")
    for kind, names in (("step", ("step", "loss", "lr", "grad_norm", "tokens")),
                        ("eval", ("step", "loss", "ppl", "accuracy", "tokens"))):
        pairs = list(zip(of(native, kind), of(torch, kind)))
        count = len(of(native, kind)) == len(of(torch, kind)) == len(pairs) > 0
        check(f"{cell}: as many events {kind}", count)
        for name in names:
            worst = max(abs(a[name] - b[name]) / max(1e-9, abs(a[name])) for a, b in pairs)
            check(f"{cell}: {kind}s agree in {name}", worst <= TOLERANCE, f"by {worst:.2g}")
    results = [of(each, "result")[0] for each in (native, torch)]
    for name in ("params", "tokens_trained", "window_steps", "flops_per_token",
                 "hfu_flops_per_token"):
        check(f"{cell}: {name} is the same", results[0][name] == results[1][name])
    missing = set(results[0]) - set(results[1]) - UNKNOWN
    check(f"{cell}: no metric is missing", not missing, str(missing))


def worst_difference(one, other, kind, name):
    pairs = list(zip(of(one, kind), of(other, kind)))
    if not pairs or len(of(one, kind)) != len(of(other, kind)):
        return float("inf")
    return max(abs(a[name] - b[name]) / max(1e-9, abs(a[name])) for a, b in pairs)


def compare_ranks():
    """Every wrapper, and both ranks, against one rank and against two native ones."""
    joined, native = events("joined"), events("ranks_native")
    cells = [os.path.basename(each).rsplit("-", 1)[0]
             for each in glob.glob("results/m/cells/ranks_*ddp=*")]
    check("every wrapper ran", len(cells) == 5, str(cells))
    for cell in sorted(cells):
        first = events(cell)
        for kind, name in (("step", "loss"), ("step", "grad_norm"), ("eval", "loss"),
                           ("eval", "tokens")):
            for what, other in (("one rank", joined), ("native ones", native)):
                worst = worst_difference(other, first, kind, name)
                check(f"{cell}: {kind} {name} is that of {what}",
                      worst <= JOINED_TOLERANCE, f"off by {worst:.2g}")
            worst = worst_difference(first, events(cell, 1), kind, name)
            check(f"{cell}: ranks agree on {kind} {name}", worst == 0, f"{worst:.2g}")
        result, told = of(first, "result")[0], of(native, "result")[0]
        missing = set(told) - set(result) - UNKNOWN
        check(f"{cell}: no metric is missing", not missing, str(missing))
        check(f"{cell}: a rank counts its own tokens",
              result["tokens_trained"] == told["tokens_trained"])
        if "sharded" in cell:
            states = [of(events(cell, r), "result")[0]["optimizer_bytes"] for r in (0, 1)]
            check(f"{cell}: the optimizer's state is shared out",
                  max(states) < 0.75 * of(joined, "result")[0]["optimizer_bytes"],
                  str(states))


def compare_ends():
    """An epoch that ends within a step: the last rank has no row of it, or few."""
    for accumulate in (1, 2):
        cells = [f"ends_engine={engine},accumulate={accumulate}"
                 for engine in ("native", "torch")]
        counts = []
        for rank in range(3):
            native, torch = (events(cell, rank) for cell in cells)
            # A gradient far larger than its neighbours is off by more: the last one's is
            # looked at, of the step that is not whole.
            last = [of(each, "step")[-1:] for each in (native, torch)]
            for kind, name in (("step", "loss"), ("step", "tokens"), ("eval", "loss"),
                               ("step", "grad_norm")):
                worst = worst_difference(*(last if name == "grad_norm" else
                                           (native, torch)), kind, name)
                check(f"{cells[1]}: rank {rank}'s {kind} {name} is the native one's",
                      worst <= JOINED_TOLERANCE, f"off by {worst:.2g}")
            results = [of(each, "result")[0] for each in (native, torch)]
            for name in ("first_loss", "final_loss", "tokens_trained", "window_tokens"):
                one, other = (result[name] for result in results)
                check(f"{cells[1]}: rank {rank}'s {name} is the native one's",
                      abs(one - other) <= JOINED_TOLERANCE, f"{other} against {one}")
            counts.append(results[1]["tokens_trained"])
        check(f"{cells[1]}: every window is trained on once", sum(counts) == 531 * 32
              and len(set(counts)) > 1, str(counts))


def check_rows():
    rows, of_other = (of(events("allreduce", r), "allreduce") for r in (0, 1))
    check("allreduce tells sizes that grow by four",
          [row["bytes"] for row in rows] == [(64 << 10) << 2 * i for i in range(len(rows))]
          and rows, str(rows))
    for row in rows:
        bus = row["bytes"] / row["ms_median"] * 1e3
        check(f"allreduce of {row['bytes']} bytes tells times in order, and their rate",
              0 < row["ms_p10"] <= row["ms_median"] <= row["ms_p90"]
              and abs(row["bus_bytes_per_s"] / bus - 1) < 1e-9, str(row))
    fields = ("bytes", "ms_median", "ms_p10", "ms_p90")
    check("ranks tell the slowest one's times", [[row[f] for f in fields] for row in rows]
          == [[row[f] for f in fields] for row in of_other])
    result = of(events("allreduce"), "result")[0]
    check("the result is of the rows",
          result["allreduce_latency_ms"] == rows[0]["ms_median"] and
          result["allreduce_bus_bytes_per_s"] == max(r["bus_bytes_per_s"] for r in rows))


def check_sums():
    """A sum that is off in one element of many is found, and none where all is right."""
    sys.path.insert(0, os.path.join(HERE, "../../worker/peers"))
    import torch
    from torch_peer import allreduce, attempt
    ranks = types.SimpleNamespace(world=3, rank=1, device=torch.device("cpu"),
                                  meeting=contextlib.nullcontext)
    told = types.SimpleNamespace(is_silent=lambda: False)
    count = 2 * allreduce.PIECE + 7

    def found(precision, wrong):
        def add_up(array):
            at = torch.arange(count)
            array += sum(allreduce.number_at(at, rank) for rank in (0, 2))
            array[wrong] += 1

        allreduce.dist = types.SimpleNamespace(all_reduce=add_up)
        probe = allreduce.Probe(told, {"precision": precision}, ranks)
        try:
            probe.check_sum(torch.empty(count, dtype=probe.type))
        except attempt.Failure as failure:
            return failure.status, f"element {count - 3} is " in str(failure)
        return None

    none = slice(0, 0)
    for precision in ("fp32", "bf16", "fp16"):
        check(f"{precision}: a right sum is found right", found(precision, none) is None)
        check(f"{precision}: a wrong sum is found, and where",
              found(precision, count - 3) == ("invalid", True))


def check_waiting():
    """Who waits says so, once a second, and takes it back. A second is LOOKS looks."""
    import torch
    from torch_peer import ranks
    shared, told = os.memfd_create("ranks"), ([], [])
    ranks.Ranks.follow = lambda self: None  # here nobody looks around unasked

    def rank(number):
        attempt = types.SimpleNamespace(
            rank=number, world=2, shm_fd=shared, send_waiting=told[number].append)
        return ranks.Ranks(attempt, {"ranks": 2}, torch.device("cpu"))

    one, other = rank(0), rank(1)

    def expect(what, *wanted):
        check(f"waiting: {what}", told == wanted, f"{told}, not {wanted}")
        told[0].clear(), told[1].clear()

    def look(*who, times):
        for _ in range(times):
            for each in who:
                each.look()

    for _ in range(2):
        with one.meeting():
            look(one, other, times=ranks.LOOKS)
            expect("nobody complains at once", [], [])
            look(one, other, times=1)
            expect("who waits says so", [True], [])
            look(one, other, times=2 * ranks.LOOKS)
            expect("and does so once a second", [True, True], [])
            with other.meeting():
                look(one, other, times=1)
                expect("who came is no longer waited for", [False], [])
                look(one, other, times=3 * ranks.LOOKS)
                expect("with all there nobody waits", [], [])
                look(one, times=ranks.LOOKS)
                expect("a look may come late", [], [])
                look(one, times=1 + ranks.LOOKS)
                expect("who is stopped is waited for", [True, True], [])
                look(other, one, times=1)
                expect("until it goes on", [False], [])
                look(other, one, times=3 * ranks.LOOKS)
                expect("and then again nobody waits", [], [])
            look(other, one, times=3 * ranks.LOOKS)
            expect("who left a meeting is not behind", [], [])
        look(one, times=3 * ranks.LOOKS)
        expect("outside nobody waits", [], [])
        look(other, one, times=1)
        with one.meeting():
            look(one, other, times=ranks.LOOKS + 1)
        look(one, other, times=1)
        expect("a meeting that ends takes it back", [True, False], [])
        with other.meeting():
            pass


def check_compilers():
    """What PyTorch's compiler started is gone before its rank is."""
    from torch._inductor import async_compile, config
    from torch_peer import run
    config.compile_threads = 2  # one starts none
    compiler = async_compile.AsyncCompile.process_pool().process
    running = compiler.poll() is None
    run.end_compilers()
    check("a rank ends its compiler's processes",
          running and compiler.poll() is not None)


STOPPED = """
baseline: stopped
defaults: {device: cpu, threads: 1, layers: 2, d_model: 48, heads: 6, seq_len: 24,
  batch: 2, steps: 1000000, warmup_steps: 2, eval_batches: 0, start_s: 300,
  data: "stories:50kB:7"}
experiments:
  - {name: stopped, engine: torch, ranks: 2, ddp: bucketed, heartbeat_s: 6}
"""


def check_stopped():
    """A rank that is stopped amid its steps is the one that is named."""
    with open("stopped.yaml", "w", encoding="utf-8") as file:
        file.write(STOPPED)
    environment = dict(os.environ, LM_PYTHON=sys.executable)
    environment.pop("LM_WORKER", None)
    with subprocess.Popen([RUNNER, "run", "stopped.yaml"], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        pid, measures = None, False
        while running.poll() is None and not measures:
            time.sleep(0.1)
            for name in glob.glob("results/stopped/cells/*/attempt-1/rank1.jsonl"):
                with open(name, encoding="utf-8") as file:
                    for line in filter(lambda line: line.endswith("\n"), file):
                        event = json.loads(line)
                        pid = event.get("pid", pid)
                        measures = measures or event.get("name") == "measure"
        if measures:
            os.kill(pid, signal.SIGSTOP)
        said = running.communicate()[0]
    (name,) = glob.glob("results/stopped/cells/*/attempt-1/record.json")
    with open(name, encoding="utf-8") as file:
        record = json.load(file)
    check("a stopped rank is a hang, and it is named",
          record["status"] == "hang" and record["guilty_rank"] == 1, said)


TIGHT = """
defaults: {device: cpu, threads: 1, layers: 1, d_model: 16, heads: 2, seq_len: 16,
  engine: torch, steps: 3, warmup_steps: 1, eval_batches: 0, data: "stories:20kB:7"}
experiments:
  - name: tight
    axes: {memory_limit: [20MiB, 100MiB, 300MiB, 500MiB, 600MiB, 680MiB, 780MiB]}
"""


def check_memory():
    """Whatever way a want of memory shows, it is told as one."""
    from torch_peer import host, run
    real = host.limit
    unmapped = ImportError("_C.so: failed to map segment from shared object")
    host.limit = lambda: None
    check("without a limit what cannot be mapped has another cause",
          run.told_by_torch(unmapped, "start").status == "failed")
    host.limit = lambda: 300 << 20
    for error in (MemoryError(), OSError(12, "Cannot allocate memory"), unmapped,
                  RuntimeError("std::bad_alloc"), RuntimeError("can't start new thread")):
        told = run.told_by_torch(error, "train")
        check(f"{error!r} is a want of memory", told.status == "oom_host", told.status)
        check(f"{error!r} has a sentence", not str(told).endswith((" ", ":")), str(told))
    host.limit = real
    with open("tight.yaml", "w", encoding="utf-8") as file:
        file.write(TIGHT)
    done = runner("run", "tight.yaml")
    names = glob.glob("results/tight/cells/*/attempt-1/record.json")
    check("every limit has a record", len(names) == 7, done.stdout)
    for name in names:
        with open(name, encoding="utf-8") as file:
            record = json.load(file)
        limit = record["params"]["memory_limit"] >> 20
        check(f"{limit} MiB are enough or are not",
              record["status"] in ("ok", "oom_host") and
              not record["error"].endswith((" ", ":")), done.stdout)
        if limit <= 100:
            check(f"{limit} MiB are too few for PyTorch", record["error"] ==
                  f"PyTorch itself needs more than the memory limit of {limit} MiB",
                  done.stdout)


def main():
    check_sums()
    check_waiting()
    check_compilers()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("m.yaml", "w", encoding="utf-8") as file:
            file.write(MATRIX)
        done = runner("run", "m.yaml")
        check("the matrix runs", done.returncode == 0, done.stdout)
        for cell in ("gpt", "window", "llama"):
            compare(cell)
        compare_ranks()
        compare_ends()
        check_rows()
        for cell in ("recompute", "tf32"):
            check("what PyTorch lacks is unsupported",
                  of(events(cell), "error")[0]["kind"] == "unsupported", cell)
        check_stopped()
        check_memory()
        check("there is a report", os.path.getsize("results/m/m_report.md") > 0)
        fresh = runner("plan", "m.yaml").stdout
        check("results are fresh", "stale" not in fresh, fresh)
        with open("bare", "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec '{sys.executable}' -S \"$@\"\n")
        os.chmod("bare", 0o755)
        bare = os.path.abspath("bare")
        stale = runner("plan", "m.yaml", python=bare).stdout
        check("results of another PyTorch are stale", stale.count("stale") == 13, stale)
        done = runner("run", "m.yaml", "--only", "gpt", python=bare)
        error = of(events("gpt_engine=torch"), "error")
        check("without PyTorch a cell is unsupported",
              done.returncode == 0 and error and "LM_PYTHON" in error[0]["text"],
              done.stdout)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
