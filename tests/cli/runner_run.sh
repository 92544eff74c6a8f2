#!/usr/bin/env bash
# What a run leaves behind, what the next one takes up, and what the exit code says.
set -euo pipefail
source tests/helpers/runner.sh

matrix m <<'YAML'
description: What does a run leave behind?
defaults: {steps: 5, warmup_steps: 1, heartbeat_s: 0.5}
experiments:
  - name: good
    tags: [good]
    env: {MISBEHAVE: ok}
    axes: {batch: [1, 2]}
    exclude: [{when: {batch: 2}, because: "two are too many"}]
    include: [{batch: 3}]
  - name: crash
    tags: [bad]
    env: {MISBEHAVE: segv}
  - name: awaited
    tags: [bad]
    expect: crashed
    env: {MISBEHAVE: segv}
    seed: 2
  - name: memory
    tags: [memory]
    env: {MISBEHAVE: oom}
YAML

run m.yaml --tags good
expect "good cells exit 0, a line each" 0 '\[1/2\] ok +good/batch=1' '\[2/2\] ok +good/batch=3' \
    '2 attempts, 2 ok' 'm_report.md'
for file in spec.json owner.json record.json rank0.jsonl rank0.stdout rank0.stderr; do
    compgen -G "results/m/cells/good_batch=1-*/attempt-1/$file" >/dev/null ||
        not_ok "an attempt has its $file"
done
grep -q '"crash"' results/m/plan.json || not_ok "plan.json is the whole matrix"
[ -s results/m/m_results.csv ] || not_ok "the CSV is there"
run m.yaml --tags good
expect "a second run runs nothing anew" 0 '0 attempts; 2 cells had fresh results' '!^stands'
run plan m.yaml --only good
expect "the plan knows how long they took" 0 'ok +[0-9.]+ m?s +good/batch=1' '2 with fresh results'

matrix sound <<'YAML'
description: What crashes no more?
experiments:
  - name: sound
    expect: crashed
    env: {MISBEHAVE: ok}
YAML
run sound.yaml
expect "what was not met is said" 1 'ok, expected crashed +sound'
run sound.yaml
expect "and that it still stands" 1 '1 cell had fresh results, 1 of which did not pass' \
    '^stands: ok, expected crashed +sound$'

matrix broken <<'YAML'
description: What did not pass before?
experiments:
  - name: broken
    env: {MISBEHAVE: exit}
    axes: {seed: [1, 2, 3, 4, 5, 6, 7]}
YAML
run broken.yaml
run broken.yaml
expect "what failed before is told with its cause" 1 '7 of which did not pass' \
    '^stands: failed +broken/seed=1  rank 0 exited with code 3 without saying why$' \
    '^stands: and 2 more$'
[ "$(grep -c '^stands: ' err)" = 6 ] || not_ok "of the first five"

matrix flood <<'YAML'
description: Is a disk filled?
defaults: {heartbeat_s: 60}
experiments:
  - name: flood
    env: {MISBEHAVE: flood_stdout}
  - name: next
    env: {MISBEHAVE: ok}
YAML
run flood.yaml
expect "who prints without end has failed, and the next cell runs" 1 \
    'failed +flood .* rank 0 wrote more than 64 MiB to its standard output$' 'ok +next'
[ "$(stat -c %s results/flood/cells/flood-*/attempt-1/rank0.stdout)" = $((64 << 20)) ] ||
    not_ok "what it printed is cut to the bound"
rm -r results/flood

run m.yaml
expect "an unexpected crash exits 1" 1 'crashed +crash ' 'crashed +awaited' \
    'SIGSEGV' '3 attempts, 1 oom_host, 2 crashed; 2 cells had fresh results'
run m.yaml --skip crash
expect "an expected crash and an out-of-memory pass" 0
run m.yaml --only memory --strict
expect "--strict refuses an out-of-memory" 1
commands=$(sed -n 's/^build\/runner //p' results/m/m_report.md | xargs)
wanted="m.yaml --tags good m.yaml m.yaml --skip crash m.yaml --only memory"
[ "$commands" = "$wanted" ] || not_ok "the report has each command once: $commands"
run m.yaml
expect "a failure stands, and still exits 1" 1 '0 attempts'
run m.yaml --retry crashed
expect "--retry takes up that status" 1 '2 attempts, 2 crashed' 'crash \(attempt 2\)'
run m.yaml --retry all --only memory good
expect "--retry all leaves what is ok" 0 '1 attempt, 1 oom_host'
run m.yaml --only good --fresh
expect "--fresh runs again" 0 '2 attempts, 2 ok' 'attempt 2'
[ "$(attempts 'good_batch=1-*')" = 2 ] || not_ok "earlier attempts stay"

run m.yaml --only good --repeats 4
expect "--repeats runs what is missing" 0 '4 attempts, 4 ok'
order=$(sed -n 's/^\[.*ok *good\/batch=\([13]\).*/\1/p' err | xargs)
[ "$order" = "1 3 1 3" ] || not_ok "repeats are interleaved: $order"

[ "$(grep -c '"repeats": 4' results/m/plan.json)" = 3 ] || not_ok "and is in the plan"
counted=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
    /^good.*,ok,/ { print $at["repeats"], $at["attempts_counted"] }' results/m/m_results.csv | xargs)
[ "$counted" = "4 4 4 4" ] || not_ok "and all of them count: $counted"

# Another build of the worker makes results stale.
cp "$LM_WORKER" other
printf 'exec %s "$@"\n' "$folder/other" | cat <(echo '#!/bin/sh') - >script
chmod +x script
LM_WORKER=$folder/script run m.yaml --only good --keep-stale
expect "--keep-stale leaves stale results" 0 '0 attempts'
LM_WORKER=$folder/script run plan m.yaml --only good
expect "stale is shown" 0 'ok \(stale\)'
LM_WORKER=$folder/script run m.yaml --only good
expect "stale results are run again" 0 '2 attempts, 2 ok'

run m.yaml --only good --where batch=1 --set seed=9
expect "--set makes a cell of its own" 0 'ok +good/batch=1,seed=9'
grep -q 'good/batch=1,seed=9' results/m/plan.json || not_ok "which enters the plan"
run m.yaml --only good
grep -q 'good/batch=1,seed=9' results/m/plan.json || not_ok "and stays there"

run try mine env='{"MISBEHAVE":"ok"}' steps=7
expect "try runs one cell in a folder of its own" 0 'ok +mine'
[ -d results/try_mine/cells ] || not_ok "results/try_mine is there"
grep -q '^1 cell: 1 ok' results/try_mine/try_mine_report.md ||
    not_ok "its report tells of that cell and no other"
run try hand env='{"MISBEHAVE":"ok"}' steps=7 --out hands
run try hand --out hands
run try hand env='{"MISBEHAVE":"ok"}' steps=8 --out hands
grep -q '^3 cells: ' hands/try_hand/try_hand_report.md ||
    not_ok "a later try keeps what earlier ones did"
run try mine stesp=7
expect "try refuses an unknown parameter" 2 "'steps'"
run try mine window=2048 seq_len=64
expect "try says why a cell is excluded" 2 "nothing to run: 'mine.*' is excluded because .*window"
run m.yaml --only good/batch=2
expect "so does a selection" 2 "nothing to run: 'good/batch=2' is excluded because two are too many"
run try mine env='{"MISBEHAVE":"ok"}' --repeats 2 --out twice
expect "try repeats" 0 '2 attempts, 2 ok'

# A peer engine's interpreter without what it stands on: found out by the cell alone.
if command -v python3 >/dev/null; then
    printf '#!/bin/sh\nexec python3 -S "$@"\n' >bare
    chmod +x bare
    peer() {
        (unset LM_WORKER && export LM_PYTHON=$folder/bare && "$runner" "$@" >out 2>err)
    }
    status=0
    peer try peer engine=torch device=cpu || status=$?
    expect "without PyTorch its cells are unsupported" 0 'unsupported.*has no PyTorch.*LM_PYTHON'
    grep -q '"worker_build": "sha256:.* torch-none"' \
        results/try_peer/cells/*/attempt-1/record.json ||
        not_ok "the record says what the peer stands on"
    matrix p <<<'experiments: [{name: p, engine: torch, device: cpu}]'
    status=0
    peer plan p.yaml --memory || status=$?
    expect "it has no plan to be asked for" 0 'PyTorch allocates as it goes'
fi
run paln
expect "a slip in a command is guessed" 2 "'paln', did you mean 'plan'"
run try
expect "try needs a name" 2 'needs a name'

run clean results/try_mine
expect "clean shows what a try left" 0 'try_mine/cells/mine' 'would be removed'
run clean results/try_mine --yes
expect "and removes it" 0 '1 cell.* removed'
[ -e results/try_mine ] && not_ok "its folder is gone"

run report results/m
expect "report rebuilds the tables" 0 'good/batch=1'
run report --json
expect "report speaks JSON" 0 '"cell": "good/batch=1"' '"status": "crashed"' '"excluded"'
run report nosuch
expect "a report of nothing says so" 2 "no results in 'nosuch'"

# Corrupt and truncated records: said, never fatal, and run again.
record=$(ls results/m/cells/good_batch=3-*/attempt-*/record.json | tail -1)
head -c 100 "$record" >torn && cp torn "$record"
run report results/m
expect "a torn record does not stop the report" 0
run m.yaml --only good --repeats 1
expect "a torn last record is run again" 0 '1 attempt, 1 ok'

record=$(ls results/m/cells/good_batch=3-*/attempt-*/record.json | sort -V | tail -1)
sed -i 's/"cell": "[^"]*"/"cell": "other"/' "$record"
run plan m.yaml --only good
expect "a record of another cell counts as lost" 0 'lost +.*good/batch=3'
run m.yaml --only good
expect "and is run again" 0 '1 attempt, 1 ok'

run clean m.yaml --only crash
expect "clean shows what it would remove" 0 'crash-' 'would be removed'
[ "$(attempts 'crash-*')" = 2 ] || not_ok "and removes nothing"
run clean m.yaml --only crash --yes
expect "clean --yes removes" 0 'removed'
[ "$(attempts 'crash-*')" = 0 ] || not_ok "the cell's results are gone"
[ "$(attempts 'memory-*')" != 0 ] || not_ok "others stay"
echo mine >results/m/notes.txt
run clean m.yaml --yes
expect "clean of a whole matrix" 0 'removed'
[ "$(ls results/m)" = notes.txt ] || not_ok "leaves only what is not ours"

# Disks and permissions.
echo >file
run m.yaml --only good --out file/below
expect "an unwritable results folder is one sentence" 2 "runner: cannot .*file"
[ "$(grep -c . err)" = 1 ] || not_ok "and only one"
mkdir full
if mount -t tmpfs -o size=256k none full 2>/dev/null; then
    trap 'umount "$folder/full" 2>/dev/null || true; rm -rf "$folder"' EXIT
    # From no room at all to room for all but the report: each write fails once.
    for room in 0 8 16 24 32 40 48 64 96; do
        dd if=/dev/zero of=full/ballast bs=1k count=$((256 - room)) status=none 2>/dev/null || true
        run m.yaml --only good --out full
        [ "$status" -le 2 ] || not_ok "a full disk ($room KiB left) exits $status"
        [ "$status" = 0 ] || grep -q 'No space left' err || {
            not_ok "a full disk ($room KiB left) says so"
            cat err
        }
        rm full/ballast
        run m.yaml --only good --out full
        expect "with room again the matrix completes" 0
        rm -rf full/m
    done
fi
nothing_left results || not_ok "no process is left"
exit $failed
