#!/usr/bin/env bash
# matrix/allreduce.yaml on the CPU, from the file to the report; a fault within it.
set -euo pipefail
root=$PWD
source tests/helpers/runner.sh
unset LM_WORKER
# AddressSanitizer's shadow alone is beyond any limit that keeps this short.
! grep -q __asan_init "$build/worker-cpu" || exit 77

run "$root/matrix/allreduce.yaml" --tags allreduce --where engine=native ranks=2 \
    --set device=cpu memory_limit=128MiB
expect "two ranks add up" 0 '^2 attempts, 2 ok$' 'bus bytes/s'
record=$(find results/allreduce/cells -path '*precision=fp32*/attempt-1/record.json' |
    head -n 1)
[ "$(grep -c '"bytes": ' "$record")" = 5 ] || not_ok "five sizes are in the record"
[ "$(grep -c '"bus_bytes_per_s": ' "$record")" = 5 ] || not_ok "each with its bandwidth"
report=results/allreduce/allreduce_report.md
grep -q '^- \*\*native, 2 ranks\*\*: at best .* GB/s on the bus' "$report" ||
    not_ok "the report answers"
grep -q '^| size | native × 2: ms | native × 2: GB/s |$' "$report" || not_ok "a table"
[ "$(grep -c '^| 16 MiB | [0-9.]* | [0-9.]* |$' "$report")" = 2 ] || not_ok "two of them"
[ "$(grep -c ' ends at 16 MiB: an array may take a quarter ' "$report")" = 2 ] ||
    not_ok "what is left out is told"
[ "$(wc -l <results/allreduce/allreduce_allreduce.csv)" = 11 ] || not_ok "a CSV"

matrix faults <<'YAML'
description: faults?
defaults: {task: allreduce, device: cpu, ranks: 2, memory_limit: 256MiB, inject_rank: 1}
experiments:
  - {name: wrong, inject: nan, expect: invalid}
  - {name: silent, inject: hang, inject_step: 3, heartbeat_s: 2, expect: hang}
YAML
run faults.yaml
expect "faults are told apart" 0 'element 0 is nan, not the sum' \
    'silence of rank 1 for heartbeat_s = 2 s after step 2'
nothing_left results || not_ok "no process is left"
exit $failed
