#!/usr/bin/env bash
# GPUs as the runner hands them out, on a machine that only claims to have two: their
# entries below /proc are a mount of our own, their worker is tests/helpers/worker_gpu.
set -euo pipefail
if [ "${1:-}" != inside ]; then
    unshare -m true 2>/dev/null || {
        echo "skipped: mounts of one's own need privileges here"
        exit 77
    }
    exec unshare -m "$0" inside
fi
mount -t tmpfs none /proc/driver 2>/dev/null || {
    echo "skipped: /proc/driver cannot be mounted over"
    exit 77
}
for gpu in 0000:65:00.0 0000:ca:00.0; do
    mkdir -p "/proc/driver/nvidia/gpus/$gpu"
    printf 'Model: \t\t Fake GPU\n' >"/proc/driver/nvidia/gpus/$gpu/information"
done
# Two CPUs of ours, or one twice, stand for those near each GPU, where the kernel's
# own list can be mounted over; the last line of every cell's record tells of them.
cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status | tr , '\n')
near=("$(head -n 1 <<<"$cpus" | cut -d- -f1)" "$(tail -n 1 <<<"$cpus" | cut -d- -f2)")
pci=0
if mount -t tmpfs none /sys/bus/pci/devices 2>/dev/null; then
    pci=1
    mkdir /sys/bus/pci/devices/0000:{65,ca}:00.0
    echo "${near[0]}" >/sys/bus/pci/devices/0000:65:00.0/local_cpulist
    echo "${near[1]}" >/sys/bus/pci/devices/0000:ca:00.0/local_cpulist
fi
source tests/helpers/runner.sh
mkdir "$folder/bin"
cp "$build/runner" "$folder/bin/runner"
cp "$OLDPWD/tests/helpers/worker_gpu" "$folder/bin/worker-cuda"
ln -s "$build/worker-cpu" "$folder/bin/worker-cpu"
runner=$folder/bin/runner
unset LM_WORKER
export LM_BUILD=$build HOLD=$folder/hold

run devices
expect "devices tells what the worker does" 0 '^gpu 0 Fake GPU, .*80.0 GiB, .* free' \
    'compute capability 9.0, 132 multiprocessors, 50 MiB L2, up to 1980 MHz, 18 NVLinks' \
    'driver 580.1, reaches 1$' '^gpu 1 Fake GPU, .*reaches 0$'
run devices --json
expect "and in JSON" 0 '"number": 1' '"bus_id": "0000:ca:00.0"' '"driver": "580.1"' \
    '"multiprocessors": 132' '!"index"'

matrix m <<'YAML'
description: Which GPUs do cells get?
defaults: {steps: 5, warmup_steps: 1, device: cuda}
experiments:
  - name: one
    env: {MISBEHAVE: ok, HELD: "3"}
  - name: two
    env: {MISBEHAVE: ok, NCCL_ALGO: Ring, NCCL_PROTO: LL}
    ranks: 2
    ddp: naive
  - name: host
    device: cpu
    task: noop
  - name: full
    env: {MISBEHAVE: oom_device}
  - name: many
    ranks: 3
    ddp: naive
YAML
export NCCL_DEBUG=WARN NCCL_PROTO=Simple
run m.yaml
expect "cells run on GPUs" 0 'ok +one' 'ok +two' 'ok +host' \
    'oom_device +full .*device memory: out of memory' \
    'unsupported +many .*asks for 3 GPUs, this run has 2'
# numbers CELL: the GPUs that its record names
numbers() {
    tr -d ' \n' <"$(ls results/m/cells/"$1"-*/attempt-1/record.json)" |
        sed 's/.*"gpu_numbers":\[\([0-9,]*\)\].*/\1/'
}
[ "$(numbers one)" = 0 ] || not_ok "one GPU is named: $(numbers one)"
[ "$(numbers two)" = 0,1 ] || not_ok "two GPUs are named: $(numbers two)"
[ "$(numbers host)" = "" ] || not_ok "none is named for the CPU: $(numbers host)"
grep -qx '0,1 PCI_BUS_ID' results/m/cells/two-*/attempt-1/visible ||
    not_ok "and those are what it sees"
for rank in 0 1; do
    saw=$(echo results/m/cells/two-*/attempt-1/saw$rank)
    [ "$(grep ^NCCL_ "$saw" | tr '\n' ' ')" = "NCCL_ALGO=Ring NCCL_DEBUG=WARN NCCL_PROTO=LL " ] ||
        not_ok "rank $rank sees NCCL's variables, the cell's before ours: $(cat "$saw")"
    [ $pci = 0 ] || grep -qx "cpus ${near[rank]}" "$saw" ||
        not_ok "rank $rank runs near its GPU: $(cat "$saw")"
done
unset NCCL_DEBUG NCCL_PROTO
if [ $pci = 1 ]; then
    tr -d ' \n' <"$(ls results/m/cells/two-*/attempt-1/record.json)" |
        grep -q "\"rank_cpus\":\[\"${near[0]}\",\"${near[1]}\"\]" ||
        not_ok "the record tells where the ranks ran"
    grep -q rank_cpus results/m/cells/host-*/attempt-1/record.json &&
        not_ok "on the CPU a rank runs anywhere"
fi
[ "$(cat hold)" = 0 ] || not_ok "memory that was held was waited for"
grep -q not_back_bytes results/m/cells/*/attempt-1/record.json && not_ok "and came back"
grep -q 'oom_device.*8.0 KiB asked\|8192\|out of memory' results/m/m_report.md ||
    not_ok "the report says why"
run m.yaml --only full --strict
expect "--strict refuses an out-of-memory of the device" 1
run m.yaml --only full
expect "which passes without" 0 '1 cell had fresh results'

matrix series <<'YAML'
description: Do cells of a scaling series share their GPUs?
defaults: {steps: 5, warmup_steps: 1, device: cuda, env: {MISBEHAVE: ok, HELD: "1"}}
experiments:
  - name: s
    axes: {batch: [4, 8]}
    zip: [{ranks: [1, 2], ddp: [none, naive]}]
YAML
run series.yaml --jobs 2
expect "a scaling series runs" 0 '4 attempts, 4 ok'
for record in results/series/cells/*/attempt-1/record.json; do
    numbers=$(tr -d ' \n' <"$record" | sed 's/.*"gpu_numbers":\[\([0-9,]*\)\].*/\1/')
    [[ $record = *ranks=2* && $numbers = 0,1 || $record = *ranks=1* && $numbers = 0 ]] ||
        not_ok "it stays on its devices: $record on $numbers"
done
run series.yaml --devices 1 --fresh
expect "and asks for more than this run has at once" 0 '2 ok, 2 unsupported' \
    'unsupported +s/.*asks for 2 GPUs, this run has 1'

matrix first <<'YAML'
description: Does each GPU serve a cell that asks for it?
defaults: {steps: 5, warmup_steps: 1, device: cuda, env: {MISBEHAVE: ok}}
experiments:
  - name: f
    axes: {first_gpu: [1, 0], batch: [4, 8]}
    include: [{first_gpu: 1, ranks: 2, ddp: naive}, {first_gpu: 1, device: cpu, task: noop}]
YAML
for jobs in 1 4; do # its GPU is busy with 4, or another is idle
    run first.yaml --out jobs$jobs --jobs $jobs
    expect "a cell names its first GPU" 0 '5 ok, 1 unsupported' \
        'unsupported +f/.*asks for 2 GPUs behind the first 1, this run has 2'
    for saw in jobs$jobs/first/cells/*first_gpu=[01],batch=*/attempt-1; do
        gpu=$(sed 's/.*first_gpu=\(.\).*/\1/' <<<"$saw")
        grep -qx "$gpu PCI_BUS_ID" "$saw/visible" ||
            not_ok "with --jobs $jobs $saw saw $(cat "$saw/visible")"
        [ $pci = 0 ] || grep -qx "cpus ${near[gpu]}" "$saw/saw0" ||
            not_ok "beside the CPUs near it: $(cat "$saw/saw0")"
    done
done

matrix held <<'YAML'
description: What if memory never comes back?
defaults: {steps: 5, warmup_steps: 1, device: cuda}
experiments:
  - name: first
    env: {MISBEHAVE: ok, HELD: "100000"}
  - name: second
    env: {MISBEHAVE: ok, HELD: "100000"}
  - name: third
    env: {MISBEHAVE: ok, HELD: "0"}
YAML
run held.yaml
expect "the run goes on" 0 '^1024.0 MiB of GPU 0 are still in use 10 s after first: going on$' \
    '3 attempts, 3 ok'
grep -q '"device_memory_not_back_bytes": 1073741824' \
    results/held/cells/second-*/attempt-1/record.json || not_ok "the next record knows"
grep -q not_back_bytes results/held/cells/{first,third}-*/attempt-1/record.json &&
    not_ok "the others have nothing to tell"
[ "$(grep -c 'still in use' err)" = 1 ] || not_ok "and it is waited for once"

export NO_MEMORY=1
run held.yaml --fresh
expect "without anybody to ask, nothing waits" 0 '3 attempts, 3 ok' '!still in use'
unset NO_MEMORY

matrix large <<'YAML'
description: How large a batch fits?
defaults: {steps: 5, warmup_steps: 1, device: cuda, batch: max}
experiments:
  - name: large
    env: {MISBEHAVE: oom_above, MISBEHAVE_BATCH: "21", HELD: "2"}
YAML
run large.yaml
expect "the largest batch of a device is found" 0 'ok +large'
grep -q '"batch": 21,' results/large/cells/large-*/attempt-1/spec_resolved.json ||
    not_ok "it is another one"

matrix faults <<'YAML'
description: Do faults of a device end as expected?
defaults: {steps: 5, warmup_steps: 1, device: cuda}
experiments:
  - name: room
    expect: oom_device
    env: {MISBEHAVE: oom_device}
  - name: fault
    expect: crashed
    env: {MISBEHAVE: device_fault}
  - name: neither
    expect: oom_device
    env: {MISBEHAVE: absent}
YAML
run faults.yaml
expect "what is expected passes, and what this machine lacks" 0 \
    'oom_device +room' 'crashed +fault .*illegal memory access' 'unsupported, expected oom_device +neither|unsupported +neither'
run faults.yaml --strict
expect "--strict holds to what is expected" 1 '0 attempts'
nothing_left results || not_ok "no process is left"
exit $failed
