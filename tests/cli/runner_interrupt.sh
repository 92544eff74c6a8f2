#!/usr/bin/env bash
# Signals, dead runners and dead supervisors: nothing is left running, nothing is lost.
set -euo pipefail
source tests/helpers/runner.sh

matrix m <<'YAML'
description: What survives an interruption?
defaults: {steps: 5, warmup_steps: 1, heartbeat_s: 60}
experiments:
  - name: first
    env: {MISBEHAVE: ok}
  - name: stuck
    env: {MISBEHAVE: stall}
  - name: last
    env: {MISBEHAVE: ok}
    seed: 2
YAML
stuck_events='results/m/cells/stuck-*/attempt-1/rank0.jsonl'

for signal in INT TERM; do
    rm -rf results
    "$runner" m.yaml >out 2>err </dev/null &
    pid=$!
    wait_for_step "$stuck_events"
    kill -s $signal $pid
    status=0
    wait $pid || status=$?
    expect "SIG$signal ends the run with 130 and a report" 130 'interrupted +stuck' 'm_report.md'
    [ "$(with_status interrupted)" = 1 ] || not_ok "the running cell is interrupted"
    [ "$(attempts 'last-*')" = 0 ] || not_ok "no further cell is started"
    nothing_left results || not_ok "SIG$signal: no process is left"
done
sed -i 's/MISBEHAVE: stall/MISBEHAVE: slow_start/' m.yaml
run m.yaml
expect "the next run completes the matrix" 0 '2 attempts, 2 ok; 1 cell had'
sed -i 's/MISBEHAVE: slow_start/MISBEHAVE: stubborn/' m.yaml

rm -rf results
"$runner" m.yaml >out 2>err </dev/null &
pid=$!
wait_for_step "$stuck_events"
kill -INT $pid
sleep 0.2
kill -INT $pid
status=0
wait $pid || status=$?
expect "a second SIGINT does not wait for the stubborn" 130 'killing the running cells'
nothing_left results || not_ok "no process is left"

# A live owner's cell is left alone; a dead runner's supervisor cleans up.
rm -rf results
sed -i 's/MISBEHAVE: stubborn/MISBEHAVE: stall/' m.yaml
"$runner" m.yaml >first.out 2>first.err </dev/null &
pid=$!
wait_for_step "$stuck_events"
run m.yaml --only stuck last
expect "a cell that another runner runs is left alone" 1 'stuck: left alone' 'ok +last'
run clean m.yaml --only stuck --yes
expect "nor is it removed" 1 'is running and stays'
kill -KILL $pid
wait $pid 2>/dev/null || true
nothing_left results || not_ok "after SIGKILL of the runner no process is left"
run m.yaml --only first last
expect "what had finished stands" 0 '0 attempts; 2 cells had fresh results'
[ "$(with_status lost)" = 1 ] || not_ok "the supervisor recorded the attempt as lost"

# A killed supervisor: the runner sweeps and goes on.
rm -rf results
matrix n <<'YAML'
description: What survives its supervisor?
defaults: {steps: 5, warmup_steps: 1, heartbeat_s: 60}
experiments:
  - name: alone
    env: {MISBEHAVE: orphan, MISBEHAVE_RANK: "0"}
    ranks: 2
    ddp: naive
  - name: last
    env: {MISBEHAVE: ok}
YAML
"$runner" n.yaml >out 2>err </dev/null &
pid=$!
wait_for_step 'results/n/cells/alone-*/attempt-1/rank1.jsonl'
kill -KILL "$(sed -n '/"supervisor"/,$s/.*"pid": \([0-9]*\).*/\1/p' \
    results/n/cells/alone-*/attempt-1/owner.json)"
status=0
wait $pid || status=$?
expect "a killed supervisor is recorded as lost and the run goes on" 1 \
    'lost +alone .*killed by signal 9' 'ok +last'
nothing_left results || not_ok "its ranks and their orphans are gone"

# Runner and supervisor killed together: the next run sweeps what is left.
rm -rf results
"$runner" n.yaml >out 2>err </dev/null &
pid=$!
wait_for_step 'results/n/cells/alone-*/attempt-1/rank1.jsonl'
kill -KILL "$pid" "$(sed -n '/"supervisor"/,$s/.*"pid": \([0-9]*\).*/\1/p' \
    results/n/cells/alone-*/attempt-1/owner.json)"
wait $pid 2>/dev/null || true
run n.yaml --only last
expect "the next run sweeps what they left, whatever it is about" 0 'ok +last'
nothing_left results || not_ok "no process is left"
[ "$(with_status lost)" = 1 ] || not_ok "and records the attempt as lost"
sed -i 's/MISBEHAVE: orphan, MISBEHAVE_RANK: "0"/MISBEHAVE: ok/' n.yaml
run n.yaml
expect "and the matrix completes" 0 'ok +alone' '1 cell had fresh'
exit $failed
