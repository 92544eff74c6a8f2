#!/usr/bin/env bash
# Kill the runner, or its supervisors, with SIGKILL at random instants, again and again,
# until every record has been checked: none lost, torn or doubled, no process left, and
# the matrix completed by the runs that follow.
# usage: tests/helpers/kills.sh runner|supervisor COUNT MATRIX.yaml LONGEST_MS [SEED]
set -euo pipefail
victim=$1 count=$2 file=$(realpath "$3") longest_ms=$4
[ -n "${5-}" ] && RANDOM=$5
source tests/helpers/runner.sh
# LeakSanitizer looks at an ending process from a child of it: killed in a supervisor's
# stead, it would leave the runner waiting for ever.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
[ -n "${KILLS_WORKER-}" ] && LM_WORKER=$KILLS_WORKER
[ "${KILLS_WORKER-}" = own ] && unset LM_WORKER

fail() {
    echo "not ok - kill $kills of the $victim, round $round: $1"
    tail -n 20 err
    mkdir -p "$build/kills" && cp -r results err "$build/kills/" 2>/dev/null || true
    exit 1
}

# What was recorded stays as it was.
remember() {
    find results -name record.json -exec sha256sum {} + >sums.new 2>/dev/null || true
    if [ -s sums ]; then
        sha256sum --check --quiet sums >sums.out 2>&1 || fail "a record changed or is gone"
    fi
    mv sums.new sums
}

whole() {
    local record
    while read -r record; do
        [ "$(tail -c 2 "$record")" = "}" ] || fail "'$record' is torn"
    done < <(find results -name record.json)
    "$runner" report --json >report.json 2>report.err || fail "$(cat report.err)"
    ! grep -q '"damage"' report.json || fail "a record is damaged"
}

# Once a round is through, each cell has exactly one attempt that was not lost.
once_each() {
    local cell finished
    for cell in results/*/cells/*/; do
        finished=$({ grep -LE '^ "status": "(lost|interrupted)"' \
            "$cell"attempt-*/record.json || true; } | wc -l)
        [ "$finished" = 1 ] || fail "'$cell' has $finished finished attempts"
    done
    [ -z "$(find results -name '.claim-*' -o -name '*.tmp.*' | head -n 1)" ] ||
        echo "note: a temporary file of a killed process is left" >>notes
}

# The supervisor that runs just now, if one does.
supervisor_of() {
    local child
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        # Under the sanitizers a runner that exits has a child of theirs.
        if { tr '\0' ' ' <"/proc/$child/cmdline"; } 2>/dev/null | grep -q ' supervise '; then
            echo "$child"
        fi
    done
}

kills=0 round=1
while [ "$kills" -lt "$count" ]; do
    "$runner" "$file" >out 2>err </dev/null &
    pid=$!
    while :; do
        ms=$((RANDOM * longest_ms / 32768))
        sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
        kill -0 $pid 2>/dev/null || break
        target=$pid
        [ "$victim" = runner ] || target=$(supervisor_of $pid)
        if [ -n "$target" ] && kill -KILL "$target" 2>/dev/null; then
            kills=$((kills + 1))
        fi
        # The runner goes on without its supervisor, and is hit again.
        if [ "$victim" = runner ] || [ "$kills" -ge "$count" ]; then
            break
        fi
    done
    status=0
    wait $pid 2>/dev/null || status=$?
    if [ -d results ]; then
        nothing_left results || fail "a process is left"
        remember
        [ "$status" = 137 ] || whole
    fi
    # A run that came through has nothing left to do: start over.
    if [ "$status" = 0 ]; then
        once_each
        rm -rf results sums
        round=$((round + 1))
    fi
done
status=0
"$runner" "$file" >out 2>err </dev/null || status=$?
[ "$status" = 0 ] || fail "the last run exits $status"
remember
whole
once_each
nothing_left results || fail "a process is left"
echo "ok - $kills kills of the $victim over $round rounds of $(basename "$file")"
