#!/usr/bin/env bash
# `batch: max`: the largest batch that trains, by probes that count nowhere.
set -euo pipefail
source tests/helpers/runner.sh

matrix real <<'YAML'
description: How large a batch fits?
defaults: {layers: 1, d_model: 16, heads: 2, seq_len: 16, steps: 4, warmup_steps: 1,
  eval_batches: 1, data: "stories:20kB", threads: 1, device: cpu}
experiments:
  - name: large
    batch: max
    memory_limit: 24MiB
  - name: pair
    batch: max
    memory_limit: 24MiB
    ranks: 2
    ddp: naive
  - name: none
    batch: max
    memory_limit: 1MiB
YAML
# resolved MATRIX CELL: the batch that its record says it ran with
resolved() {
    sed -n 's/^  "batch": \([0-9]*\),*$/\1/p' "results/$1/cells/$2"-*/attempt-*/record.json
}
# A sanitizer's shadow memory alone is beyond any limit.
limits=true
! grep -qaE '__[at]san_init' "$build/worker-cpu" || limits=false
if $limits; then
    LM_WORKER=$build/worker-cpu run real.yaml
    expect "the largest batch that memory_limit leaves trains" 0 'ok +large' 'ok +pair' \
        'oom_host +none' '3 attempts, 2 ok, 1 oom_host'
    # found CELL: its batch; proves that a probe trained with it, and none larger did
    found() {
        local cell=$1 batch step larger
        batch=$(resolved real "$cell")
        grep -q '"batch": "max"' results/real/cells/"$cell"-*/attempt-1/record.json ||
            not_ok "$cell: the parameter stays max"
        grep -q '"status": "ok"' results/real/cells/"$cell"-*/attempt-1/probe-"$batch"/record.json ||
            not_ok "$cell: no probe trained with batch $batch"
        step=$((batch < 100 ? 1 : batch / 50))
        larger=$(grep -L '"status": "ok"' \
            results/real/cells/"$cell"-*/attempt-1/probe-*/record.json |
            sed 's/.*probe-\([0-9]*\).*/\1/' | sort -n | head -1)
        [ "$((larger - batch))" -le "$step" ] ||
            not_ok "$cell: $larger does not train, but $batch was taken"
        grep -q "\"batch\": *$batch," results/real/cells/"$cell"-*/attempt-1/spec_resolved.json ||
            not_ok "$cell: its ranks were told another batch"
    }
    found large
    found pair
    [ "$(find results/real -path '*/attempt-[0-9]/record.json' | wc -l)" = 3 ] || not_ok "probes are no attempts"
    grep -q '## The largest batches' results/real/real_report.md || not_ok "the report shows them"
    grep -q "^large,[0-9a-f]*,$(resolved real large)," results/real/real_largest_batch.csv ||
        not_ok "and so does a table"
    grep -q '^none,[0-9a-f]*,,' results/real/real_largest_batch.csv ||
        not_ok "no batch was found where none trains"
    head -1 results/real/real_results.csv | grep -q ',run_batch,' || not_ok "it has a column"
    LM_WORKER=$build/worker-cpu run real.yaml
    expect "what was found stands" 0 '0 attempts; 3 cells had fresh results'
fi

matrix fake <<'YAML'
description: What ends a search?
defaults: {steps: 5, warmup_steps: 1, batch: max, heartbeat_s: 0.3}
experiments:
  - name: device
    env: {MISBEHAVE: oom_above, MISBEHAVE_BATCH: "37"}
  - name: crash
    env: {MISBEHAVE: segv_above, MISBEHAVE_BATCH: "5"}
  - name: slow
    env: {MISBEHAVE: hang_above, MISBEHAVE_BATCH: "2"}
  - name: never
    env: {MISBEHAVE: oom_device}
  - name: noop
    task: noop
    env: {MISBEHAVE: noop}
YAML
run fake.yaml
expect "a fault is no limit" 1 'ok +device' 'crashed +crash .*SIGSEGV' 'ok +slow' \
    'oom_device +never' 'ok +noop' '^probe ok +device: batch 37  [0-9.]+ s$' \
    '^probe oom_device +device: batch 38 ' '^probe crashed +crash: batch 8 ' \
    '^probe hang +slow: batch 4 ' '!probe .*noop'
tried=$(sed -n 's/^probe [a-z_]* *device: batch \([0-9]*\) .*/\1/p' err | tr '\n' ' ')
[ "$tried" = "1 2 4 8 16 32 64 48 40 36 38 37 " ] ||
    not_ok "every probe has one line, in the order they ended: $tried"
for pair in device=37 crash=8 slow=2 never=1; do
    batch=$(resolved fake "${pair%=*}")
    [ "$batch" = "${pair#*=}" ] || not_ok "${pair%=*}: batch $batch instead of ${pair#*=}"
done
grep -q '"bytes_asked": 8192' results/fake/cells/never-*/attempt-1/record.json ||
    not_ok "what no batch could have is recorded"
grep -q '"batch_search"' results/fake/cells/noop-*/attempt-1/record.json &&
    not_ok "noop searches nothing"

# Memory is not the same twice: a probe has room for what the attempt then has not.
matrix late <<'YAML'
description: Does what a probe found train?
defaults: {steps: 5, warmup_steps: 1, batch: max}
experiments:
  - name: late
    env: {MISBEHAVE: oom_late, MISBEHAVE_BATCH: "37", MISBEHAVE_LATE: "34"}
  - name: never
    env: {MISBEHAVE: oom_late, MISBEHAVE_BATCH: "37"}
YAML
csv=results/late/late_largest_batch.csv
run late.yaml --strict --only late
expect "a batch that its own attempt refutes is not the largest that trains" 0 \
    '3 attempts, 1 ok, 2 oom_host' '^\[1/2\] oom_host +late ' '^\[3/3\] ok +late .attempt 3' \
    '^late: .*batch 37, .* up to 35 \(1 of 3\)$' '^late: .*batch 35, .* up to 31 \(2 of 3\)$'
[ "$(resolved late late | tr '\n' ' ')" = "37 35 31 " ] ||
    not_ok "each attempt keeps the batch it was made with: $(resolved late late | tr '\n' ' ')"
grep -q '^late,[0-9a-f]*,31,1,[0-9.]*,31 ok,"37 oom_host, 35 oom_host, 31 ok"$' $csv ||
    not_ok "the table lists what trained, and what did not"
# Killed after the first attempt: the next run goes on from there.
rm -rf results/late/cells/late-*/attempt-[23]
run late.yaml --strict --only late
expect "a run that was killed in between is resumed" 0 '2 attempts, 1 ok, 1 oom_host' \
    '^probe ok +late: batch 35 ' '!batch 37 '
run late.yaml --only never
expect "a batch is searched for four times" 0 '4 attempts, 4 oom_host' '\(3 of 3\)$'
grep -q '^never,[0-9a-f]*,,1,[0-9.]*,24 ok,"37 oom_host, 35 oom_host, 31 oom_host, 24 oom_host"$' $csv ||
    not_ok "what did not train is not listed as the largest that does"
! sed -n 's/^never,//p' results/late/late_results.csv | grep -q ',24,' ||
    not_ok "nor is it what it ran with"
run late.yaml
expect "what was found stands, found or not" 0 '0 attempts; 2 cells had fresh results'
run late.yaml --fresh --only late
expect "--fresh searches everything again" 0 '3 attempts' '^probe ok +late: batch 37 '

# Whatever kills a search leaves nothing.
matrix stuck <<'YAML'
description: What survives an interruption?
defaults: {steps: 5, warmup_steps: 1, batch: max, heartbeat_s: 60, start_s: 60}
experiments:
  - name: stuck
    env: {MISBEHAVE: stall}
YAML
probe_events='results/stuck/cells/stuck-*/attempt-*/probe-1/rank0.jsonl'
for signal in INT TERM; do
    rm -rf results/stuck
    "$runner" stuck.yaml >out 2>err </dev/null &
    pid=$!
    wait_for_step "$probe_events"
    kill -s $signal $pid
    status=0
    wait $pid || status=$?
    expect "SIG$signal ends a search" 130 'interrupted +stuck'
    nothing_left results/stuck || not_ok "SIG$signal: no process is left"
done

# A search that did not end has found nothing, whatever trained so far.
matrix half <<'YAML'
description: What has half a search found?
defaults: {steps: 5, warmup_steps: 1, batch: max, heartbeat_s: 60, start_s: 60}
experiments:
  - name: half
    env: {MISBEHAVE: hang_above, MISBEHAVE_BATCH: "2"}
YAML
"$runner" half.yaml >out 2>err </dev/null &
pid=$!
for _ in $(seq 1000); do
    ! grep -q 'batch 2 ' err || break
    sleep 0.02
done
grep -q '^probe ok  *half: batch 2  ' err || not_ok "a probe is told while the search goes on"
kill -INT $pid
status=0
wait $pid || status=$?
expect "half a search is interrupted" 130 'interrupted +half' '!batch 4'
grep -q '^half,[0-9a-f]*,,2,[0-9.]*,"1 ok, 2 ok",$' results/half/half_largest_batch.csv ||
    not_ok "its probes are listed, and no batch"
[ -z "$(resolved half half)" ] || not_ok "it ran with no batch"

# A probe that ends as the signal comes has found what it was told to have found.
matrix race <<'YAML'
description: What of a probe that was faster than the signal?
defaults: {steps: 5, warmup_steps: 1, batch: max}
experiments:
  - name: race
    env: {MISBEHAVE: slow_start}
YAML
"$runner" race.yaml >out 2>err </dev/null &
pid=$!
attempt='results/race/cells/race-*/attempt-1'
# wait_for_file GLOB
wait_for_file() {
    local i
    for i in $(seq 1000); do
        # shellcheck disable=SC2086
        ! test -s $1 || return 0
        sleep 0.02
    done
    not_ok "no file $1"
}
wait_for_file "$attempt/probe-2/rank0.jsonl"
supervisor=$(sed -n '/"supervisor"/,$ s/.*"pid": \([0-9]*\).*/\1/p' $attempt/owner.json)
kill -STOP "$supervisor" # sees the probe's end and the signal at once
wait_for_file "$attempt/probe-2/record.json"
kill -INT $pid
sleep 0.3
kill -CONT "$supervisor"
status=0
wait $pid || status=$?
expect "a search is interrupted as a probe ends" 130 'interrupted +race' \
    '^probe ok +race: batch 2 '
grep -q '^race,[0-9a-f]*,,2,[0-9.]*,"1 ok, 2 ok",$' results/race/race_largest_batch.csv ||
    not_ok "the report lists what was told"

# The process that watches the attempt; it outlives what it watches by its record.
supervisor() {
    sed -n '/"supervisor"/,$ s/.*"pid": \([0-9]*\).*/\1/p' \
        results/stuck/cells/stuck-*/attempt-1/owner.json
}

rm -rf results/stuck
"$runner" stuck.yaml >out 2>err </dev/null &
pid=$!
wait_for_step "$probe_events"
watching=$(supervisor)
kill -KILL $pid
wait $pid 2>/dev/null || true
nothing_left results/stuck || not_ok "a dead runner: no process is left"
[ -n "$watching" ] && ended "$watching" || not_ok "a dead runner: its supervisor ends, too"
rm -rf results/stuck
"$runner" stuck.yaml >out 2>err </dev/null &
pid=$!
wait_for_step "$probe_events"
kill -KILL "$(supervisor)"
status=0
wait $pid || status=$?
expect "a dead supervisor's search is lost" 1 'lost +stuck'
nothing_left results/stuck || not_ok "a dead supervisor: no process is left"
exit $failed
