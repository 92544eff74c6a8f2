#!/usr/bin/env bash
# Every fault that can be asked for happens as it says, on the rank it names.
set -euo pipefail
source tests/helpers/worker.sh

run inject=segv
expect "segv ends it by that signal" 139 '"event":"step".*"step":1,'
grep -qE '"event":"(error|result)"|"step":2,' "$folder/events" && not_ok "segv is at step 2"
run inject=abort inject_step=3
expect "abort ends it by that signal, before the step it names" 134 '"step":2,'
run inject=exit
expect "exit leaves without a word" 3
grep -qE '"event":"(error|result)"' "$folder/events" && not_ok "exit says nothing"
run inject=nan
expect "nan is found out" 1 '"kind":"invalid","phase":"measure","step":2.*not finite'
run inject=oom_host
expect "oom_host is refused memory" 1 \
    '"kind":"oom_host".*"step":1.*"bytes_asked":[0-9]+,"bytes_free":[0-9]+'
grep -q predicted "$folder/events" && not_ok "that was no prediction"
(
    # AddressSanitizer's shadow alone is beyond any such limit.
    grep -q __asan_init "$worker" && exit 0
    ulimit -d 300000
    run inject=oom_host
    expect "oom_host under a limit" 1 '"kind":"oom_host"'
    # Whatever a limit refuses, and whoever asked for it, is out of memory.
    for kib in 1000 2000 3000 4000 6000; do
        ulimit -S -d $kib
        run layers=2 d_model=64 heads=4 seq_len=64 batch=8 data=stories
        expect "a limit of $kib KiB" 1 '"kind":"oom_host".*"bytes_asked":[0-9]+'
    done
    exit $failed
) || failed=1
run inject=oom_device
expect "a CPU has no device of its own" 1 '"kind":"unsupported".*oom_device'
run inject=device_fault
expect "a CPU has no device to break" 1 '"kind":"unsupported".*device_fault'
run inject=garbage
expect "garbage is followed by more events" 0 '"event":"result"'
grep -qa oops "$folder/events" || not_ok "garbage is in the events"
run inject=segv inject_step=0
expect "step 0 means before the first" 139
run inject=segv inject_step=9
expect "a fault that would never strike is refused" 1 'inject_step 9 is past the last'
run inject=exit inject_phase=start
expect "a fault of the start comes before any step" 3 '"phase","t_ms":[0-9]+,"name":"start"'
grep -qE '"event":"step"' "$folder/events" && not_ok "no step is made"
for phase in instrument eval end; do
    run inject=exit inject_phase=$phase
    expect "a fault of phase $phase strikes after the last step" 3 '"step":4,'
    [ "$(grep '"event":"phase"' "$folder/events" | tail -n 1 |
        sed 's/.*"name":"\([a-z]*\)".*/\1/')" = $phase ] || not_ok "in phase $phase"
done
run inject=nan inject_phase=eval
expect "a validation loss that breaks is found out" 1 '"kind":"invalid","phase":"eval"'
run inject=nan inject_phase=end
expect "nobody would see one at the end" 1 'inject nan: no loss is looked at in phase end'
run task=noop inject=exit
expect "noop breaks, too" 3
run task=noop inject=nan
expect "but has no loss" 1 '"kind":"unsupported"'

spec "$folder/spec.json" inject=orphan
marker=LM_NONCE=orphan-$$-$RANDOM
env "$marker" "$worker" run "$folder/spec.json" >"$folder/events" || not_ok "orphan ends well"
left=$(grep -lsa "$marker" /proc/[0-9]*/environ | cut -d/ -f3 || true)
[ "$(wc -w <<<"$left")" = 1 ] || not_ok "one orphan stays: '$left'"
for pid in $left; do
    [ "$(cut -d' ' -f6 "/proc/$pid/stat")" = "$pid" ] || not_ok "it leads its own session"
    kill "$pid"
done

for fault in hang stall; do
    spec "$folder/spec.json" inject=$fault
    "$worker" run "$folder/spec.json" >"$folder/events" 2>"$folder/stderr" &
    pid=$!
    until grep -q '"step":1,' "$folder/events"; do sleep 0.05; done
    sleep 0.7
    before=$(wc -l <"$folder/events")
    sleep 0.7
    after=$(wc -l <"$folder/events")
    ticks=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    kill -0 $pid || not_ok "$fault goes on"
    [ "$ticks" -lt 30 ] || not_ok "$fault costs CPU: $ticks ticks"
    kill $pid
    wait $pid || true
    if [ $fault = hang ]; then
        [ "$before" = "$after" ] || not_ok "hang is silent"
    else
        [ "$before" -lt "$after" ] || not_ok "stall goes on talking"
        grep -qE '"step":2,|"result"' "$folder/events" && not_ok "stall gets nowhere"
    fi
done

# Of two ranks only the one named breaks; the other waits, asleep, to be ended.
spec "$folder/spec.json" ranks=2 ddp=naive inject=exit inject_rank=1
open_shared
pids=()
for r in 0 1; do
    LM_RANK=$r LM_WORLD=2 LM_SHM_FD=9 "$worker" run "$folder/spec.json" \
        >"$folder/events.$r" 2>"$folder/stderr.$r" &
    pids+=($!)
done
code=0
wait "${pids[1]}" || code=$?
[ "$code" = 3 ] || not_ok "rank 1 exits with 3, not $code"
until grep -q '"waiting":true' "$folder/events.0"; do sleep 0.05; done
kill -0 "${pids[0]}" || not_ok "rank 0 waits"
before=$(awk '{ print $14 + $15 }' "/proc/${pids[0]}/stat")
sleep 0.5
after=$(awk '{ print $14 + $15 }' "/proc/${pids[0]}/stat")
[ $((after - before)) -le 3 ] || not_ok "rank 0 sleeps: $((after - before)) ticks"
kill "${pids[0]}"
wait "${pids[0]}" || true
exit $failed
