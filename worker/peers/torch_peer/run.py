"""From a spec to the end of its process: who is asked for, and how failures are told."""

import os
import platform
import re
import resource
import sys
import traceback

from . import attempt, host, identity
from .attempt import Failure, unsupported

DONE, FAILED, NO_DEVICE = 0, 1, 77
LOST = "gloo/transport/"  # where errors of a connection to another rank come from
LEAST = (2, 6)  # PyTorch: the first with get_total_norm()
LOADED_BYTES = 1 << 30  # more than loading PyTorch takes: 0.74 GiB with CUDA
LOAD_CPU_S = 15  # ten times what it takes: where it finds no memory it may spin as well
LEFT_BYTES = 32 << 20  # beside PyTorch: no model trains in less
SPARE_BYTES = 4 << 20  # to say that there is no memory takes some


def loads():
    """Whether PyTorch finds the memory to load, and some more: how much it takes varies.
    Asked of a process of its own: where there is none, its libraries end the process
    that they are in, by a signal or an exit, and nothing says why."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    lacks = True
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (LOAD_CPU_S, LOAD_CPU_S))
        import torch  # noqa: F401
        bytearray(LEFT_BYTES)
        lacks = False
    except (ImportError, OSError) as error:  # an installation that the import tells of
        lacks = any(map(host.ran_out, causes(error)))
    finally:
        os._exit(FAILED if lacks else DONE)


def import_torch():
    """PyTorch, or the attempt is unsupported: in a process that says so, not in the
    runner, which never waits for it."""
    version = identity.torch_version()
    if version is None:
        raise unsupported(f"this Python ({sys.executable}, {platform.python_version()}) "
                          "has no PyTorch: name one that has in LM_PYTHON")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < LEAST:
        raise unsupported(f"this is PyTorch {version}, and the peer needs "
                          f"{LEAST[0]}.{LEAST[1]}")
    # cuBLAS reads it once; without it nothing of it is deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As patient as the native worker's threads: long spinning starves shared cores.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if host.limit() is not None and host.limit() < LOADED_BYTES and not loads():
        raise Failure("oom_host", f"PyTorch itself needs more than {host.show_limit()}",
                      bytes_free=host.available())
    import torch
    return torch


def choose_device(torch, asked, a):
    """`auto` takes a GPU where PyTorch sees one: the runner hides them where native
    cells would run on the CPU."""
    seen = torch.cuda.is_available() if asked != "cpu" else False
    if asked == "cuda" and not seen:
        raise unsupported("device cuda: PyTorch sees none")
    if seen and torch.cuda.device_count() < a.world:
        raise unsupported(f"ranks {a.world}: PyTorch sees {torch.cuda.device_count()} "
                          "GPUs, and each rank needs one")
    return torch.device("cuda", a.device_index) if seen else torch.device("cpu")


def device_name(torch, device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        match = re.search(r"^model name\s*: (.*)", file.read(), re.MULTILINE)
    return match.group(1) if match else platform.machine()


def refuse(p):
    """What this worker does not serve, whatever the device."""
    if p["engine"] not in ("torch", "torch_compile"):
        raise unsupported(f"engine {p['engine']}: this worker is PyTorch")
    if p["task"] not in ("train", "allreduce", "noop"):
        raise unsupported(f"task {p['task']}: this version knows train, allreduce and "
                          "noop")
    if p["inject"] != "none":
        raise unsupported(f"inject {p['inject']}: the PyTorch worker breaks nothing on "
                          "purpose")
    if p["batch"] == "max":
        raise unsupported("batch max: the runner finds the largest batch when the cell "
                          "runs")


def resolve(p):
    """The parameters with the sizes that 0 leaves open."""
    p = dict(p)
    p["kv_heads"] = p["kv_heads"] or p["heads"]
    p["d_ff"] = p["d_ff"] or 4 * p["d_model"]
    if p["global_batch"]:
        p["batch"] = p["global_batch"] // p["accumulate"] // p["ranks"]
    p["threads"] = p["threads"] or max(1, len(os.sched_getaffinity(0)) // p["ranks"])
    return p


def run_cell(a, path):
    """Hello, then the cell."""
    name, build = "", identity.build()  # now: PyTorch may leave no memory for it
    try:
        a.params = attempt.read_spec(path)
        a.folder = os.path.dirname(os.path.abspath(path))
        torch = import_torch()
        device = choose_device(torch, a.params["device"], a)
        name = device_name(torch, device)
    finally:  # whatever went wrong is told after it
        a.send("hello", protocol=attempt.PROTOCOL, build=build, device=name, pid=os.getpid())
    refuse(a.params)
    if a.params["task"] == "noop":
        a.phase("start")
        a.phase("end")
        a.send("result")
        return
    from . import allreduce, ranks, train
    p = resolve(a.params)
    task = {"train": train.Trainer, "allreduce": allreduce.Probe}[p["task"]]
    task(a, p, ranks.Ranks(a, p, device)).run()


# -- failures ----------------------------------------------------------------------

def causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def sentence(error):
    lines = str(error).strip().split("\n")
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"


def out_of_memory(error, phase):
    text = str(error).strip()
    match = re.search(r"tried to allocate (\d+) bytes", text)
    told = sentence(error) if text else f"{type(error).__name__} in phase {phase}"
    if not text and host.limit() is not None:
        told += f", under {host.show_limit()}"
    return Failure("oom_host", told, int(match.group(1)) if match else None,
                   host.available())


def told_by_torch(error, phase):
    """A Failure from what PyTorch, or Python, raised."""
    for each in causes(error):
        kind, text = type(each).__name__, str(each)
        if kind == "OutOfMemoryError":
            import torch
            free = torch.cuda.mem_get_info()[0]
            return Failure("oom_device", sentence(each), host.asked(each), free)
        if host.ran_out(each):
            return out_of_memory(each, phase)
        if kind in ("DistNetworkError", "DistStoreError") or LOST in text:
            return Failure("failed", sentence(each), collateral=True)
        refused = "does not have a deterministic implementation" in text
        if refused or kind in ("InvalidCxxCompiler", "TritonMissing"):
            return unsupported(sentence(each))
    return Failure("failed", sentence(error))


def end_compilers():
    """Those processes of PyTorch's compiler that an interpreter ends as it exits."""
    compiler = sys.modules.get("torch._inductor.async_compile")
    if compiler:
        compiler.shutdown_compile_workers()


def run(a, path):
    """The exit status of this process, which on a failure ends here."""
    spare = bytearray(SPARE_BYTES)
    try:
        run_cell(a, path)
        if a.world == 1:
            return DONE
        end_compilers()
        # PyTorch's threads are not always gone by now, and an interpreter that ends
        # around them may abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(DONE)
    except Failure as failure:
        told = failure
    except Exception as error:  # whatever it is, it ends the attempt and is told
        del spare
        traceback.print_exc()
        told = told_by_torch(error, a.phase_name)
    a.report(told)
    print(f"torch_worker.py: rank {a.rank}: {told}", file=sys.stderr, flush=True)
    absent = told.status == "unsupported" and a.params.get("device") == "cuda"
    # Nothing is undone: with a broken device below it, PyTorch may end in an abort.
    os._exit(NO_DEVICE if absent else FAILED)
