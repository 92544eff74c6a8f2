#!/usr/bin/env bash
# What a worker answers without training: plans, devices, versions, usage.
set -euo pipefail
source tests/helpers/worker.sh

run kernel=naive
question() {
    spec "$folder/question" "$@"
    cat "$folder/question"
}
planned=$(field "$folder/events" result planned_bytes)
{
    question kernel=naive
    question kernel=cudnn
    echo
    question task=noop
    question task=attention
    question vocab=3
    echo 'no JSON'
    question ranks=65 ddp=naive
    question ranks=65 task=noop
} >"$folder/specs"
status=0
"$worker" plan <"$folder/specs" >"$folder/events" || status=$?
expect "plan answers each line" 0
answer() { sed -n "$1p" "$folder/events"; }
[ "$(wc -l <"$folder/events")" = 8 ] || not_ok "an answer for each of 8 questions"
grep -q "\"cell\":\"c\",\"planned_bytes\":$planned,\"params_bytes\"" <<<"$(answer 1)" ||
    not_ok "the plan is what the run took: $planned"
grep -q '"error":".*","unsupported":true' <<<"$(answer 2)" || not_ok "no cudnn here"
grep -q '"planned_bytes":0' <<<"$(answer 3)" || not_ok "noop takes nothing"
grep -q 'task attention.*"unsupported":true' <<<"$(answer 4)" || not_ok "a later task"
grep -q 'vocab 3 is smaller.*"unsupported":false' <<<"$(answer 5)" || not_ok "small vocab"
grep -q '"cell":"","error":' <<<"$(answer 6)" || not_ok "garbage has an answer, too"
grep -q '65 ranks: a communicator joins at most 64","unsupported":true' <<<"$(answer 7)" ||
    not_ok "ranks that cannot meet"
grep -q '"planned_bytes":0' <<<"$(answer 8)" || not_ok "those of noop need not meet"
status=0
spec "$folder/spec.json" ranks=65 ddp=naive
LM_RANK=3 LM_WORLD=65 "$worker" run "$folder/spec.json" >"$folder/events" \
    2>"$folder/stderr" || status=$?
expect "one of too many ranks" 1 '"kind":"unsupported","phase":"start".*65 ranks:'

"$worker" devices >"$folder/events"
status=0
expect "devices are listed" 0 '"kind": "cpu"' '"cores": [1-9]' '"memory_bytes": [1-9]'
[ "$("$worker" --build)" = "$(sed -n 's/.*"build": "\(.*\)",/\1/p' "$folder/events")" ] ||
    not_ok "one build id"
[[ $("$worker" --build) =~ ^[0-9a-f]{40}$ ]] || not_ok "the build id is the linker's"
[[ $("$worker" --version) =~ ^worker-cpu\ [0-9]+\.[0-9]+ ]] || not_ok "a version"
"$worker" --help | grep -q '^usage: worker-cpu run' || not_ok "help is on standard output"
for wrong in "" "run" "run a b" "plan x" "dance"; do
    status=0
    # shellcheck disable=SC2086
    "$worker" $wrong >"$folder/events" 2>"$folder/stderr" </dev/null || status=$?
    expect "usage: '$wrong'" 2
    grep -q usage "$folder/stderr" || not_ok "usage is told for '$wrong'"
done
status=0
LM_RANK=1 LM_WORLD=1 "$worker" run x >"$folder/events" 2>"$folder/stderr" || status=$?
expect "a place that makes no sense" 2
grep -q "LM_RANK is 1, but LM_WORLD is 1" "$folder/stderr" || not_ok "it is named"
status=0
spec "$folder/spec.json"
"$worker" run "$folder/spec.json" >/dev/full 2>"$folder/stderr" || status=$?
[ "$status" = 1 ] || not_ok "a full disk: exit $status instead of 1"
grep -q "No space left" "$folder/stderr" || not_ok "a full disk is named"
exit $failed
