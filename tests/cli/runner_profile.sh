#!/usr/bin/env bash
# Where time goes: one cell under a profiler (which one is taken, what it leaves, and that
# its numbers are used nowhere), and the times of a real worker's ops.
set -euo pipefail
source tests/helpers/runner.sh

matrix m <<'YAML'
description: What does a profile leave behind?
defaults: {steps: 5, warmup_steps: 1}
experiments:
  - name: good
    env: {MISBEHAVE: ok}
    axes: {batch: [1, 2]}
YAML

plain=$PATH
mkdir with_ncu with_both
# A profiler that writes its report where it is told and then runs what it is told: its
# options end where the worker begins.
cat >with_ncu/ncu <<'SH'
#!/usr/bin/env bash
kind=$(basename "$0")
echo "$@" >"$PROFILED.$kind"
while [ "$1" != "$LM_WORKER" ]; do
    [ "$1" != -o ] || touch "$2.$kind-rep"
    shift
done
exec "$@"
SH
chmod +x with_ncu/ncu
cp with_ncu/ncu with_both/ncu
cp with_ncu/ncu with_both/nsys
export PROFILED=$folder/words

run m.yaml --only good/batch=1
expect "the cell has a result of its own" 0 '1 attempt, 1 ok'
PATH=$folder/with_both:$plain run m.yaml --profile good/batch=1
expect "one attempt runs under nsys, whatever the cell has" 0 '\[1/1\] ok +good/batch=1' \
    'profile: results/m/cells/good_batch=1-.*/attempt-2/profile.nsys-rep' '1 attempt, 1 ok'
[ -e "$PROFILED.ncu" ] && not_ok "ncu is not used where nsys is there"
grep -q -- '^profile --trace=cuda,nvtx .* -o results/m/cells/.*/attempt-2/profile ' \
    "$PROFILED.nsys" || not_ok "nsys is told what to trace and where to write"
[ "$(attempts 'good_batch=2-*')" = 0 ] || not_ok "no other cell runs"
record=$(echo results/m/cells/good_batch=1-*/attempt-2/record.json)
grep -q '"profiler": "nsys"' "$record" || not_ok "the record names the profiler"
grep -q '"profile": "profile.nsys-rep"' "$record" || not_ok "and what it left"
grep -q "attempt 2 ran under 'nsys' and ended ok: used in no number, its profile is profile.nsys-rep" \
    results/m/m_report.md || not_ok "the report names it"
run m.yaml --only good/batch=1
expect "the result from before stands" 0 '0 attempts; 1 cell had fresh results'

PATH=$folder/with_ncu:$plain run m.yaml --profile good/batch=2
expect "ncu where there is no nsys" 0 'profile: .*/attempt-1/profile.ncu-rep'
grep -q -- '^--clock-control none --target-processes all .*--launch-count [0-9]* .*-o results/' \
    "$PROFILED.ncu" || not_ok "ncu takes a few kernels and leaves the clocks alone"
run plan m.yaml --only good/batch=2
expect "a profile is no result" 0 '!with fresh results'
run m.yaml --only good/batch=2
expect "so the cell still runs" 0 '\[1/1\] ok +good/batch=2'

rm -rf results
PATH=$folder/nowhere run m.yaml --profile good/batch=1
expect "without a profiler nothing runs" 2 '!attempt' \
    '^runner: --profile: found neither nsys nor ncu in PATH, expected one of them$'
[ -e results ] && not_ok "and nothing is written"

PATH=$folder/with_ncu:$plain run m.yaml --profile good
expect "several cells are refused" 2 "'good' names 2 cells that run, it takes one"
run m.yaml --profile nosuch
expect "and what is no cell" 2 "^runner: --profile: found 'nosuch'"
run m.yaml --profile good/batch=1 --only good
expect "and another selection" 2 '--profile takes one cell'
run plan m.yaml --profile good/batch=1
expect "nothing but run takes it" 2 "'runner plan' has no option --profile"

LM_WORKER=$build/worker-cpu run try ops layers=1 d_model=16 heads=2 seq_len=16 batch=2 \
    steps=4 warmup_steps=1 threads=1 data=stories:20kB
expect "a worker's ops are told" 0 '1 attempt, 1 ok'
grep -q '"op": "matmul_forward"' results/try_ops/cells/*/attempt-1/record.json ||
    not_ok "and kept in the record"
grep -q '^## Where the time goes' results/try_ops/try_ops_report.md || not_ok "and reported"
grep -q ',matmul_forward,hidden,1,[0-9.e-]*,[0-9]*,65536,,,$' results/try_ops/try_ops_ops.csv ||
    not_ok "with what they compute, and no floor on a CPU"
exit $failed
