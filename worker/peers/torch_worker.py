#!/usr/bin/env python3
"""PyTorch as a worker: engines `torch` and `torch_compile` of a matrix.

It speaks the worker protocol (matrix/event.h): one cell, or one rank of it, from a
spec.json; events to descriptor LM_EVENT_FD, standard output where that is not set. The
same model from the same initial weights, the same tokens in the same order, and the
same definitions of time and memory as the native workers have, so that ratios compare
like with like. How it does so is in torch_peer/.
"""

import sys
import time

# The process's age counts from its start: what loading Python took is CPU time by now.
BEFORE_S = time.process_time()
START_S = time.monotonic()
sys.dont_write_bytecode = True  # a source tree may be read only, or shared

import json  # noqa: E402

from torch_peer import attempt, identity, run  # noqa: E402

NAME = "torch_worker.py"
USAGE = f"""usage: {NAME} run SPEC.json   train one cell
       {NAME} plan            specs on standard input, one a line; bytes out
       {NAME} --build | --help

run writes events, one JSON object a line, to descriptor LM_EVENT_FD (standard output
where that is not set). LM_DATA is the folder that relative data files lie in.

exit: 0 done, 1 failed (the last event says why), 2 usage, 77 no such device
"""


def plan():
    """PyTorch allocates as it goes: there are no bytes to foretell."""
    for line in sys.stdin:
        if line.strip():
            answer = {"cell": json.loads(line).get("cell", ""), "unsupported": False,
                      "error": "PyTorch allocates as it goes and has no plan"}
            print(json.dumps(answer), flush=True)
    return 0


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "run":
        return run.run(attempt.Attempt(BEFORE_S, START_S), arguments[1])
    if arguments == ["plan"]:
        return plan()
    if arguments == ["--build"]:
        print(identity.build())
        return 0
    wanted = arguments in (["--help"], ["-h"])
    print(USAGE, end="", file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
