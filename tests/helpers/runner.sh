# Sourced by tests/cli/runner_*.sh: runs of the runner in a folder of its own, over a
# worker that misbehaves as each cell's MISBEHAVE says, and what came of them.
build=$(realpath "${LM_BUILD:-build}")
runner=$build/runner
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export LM_WORKER=$build/tests/misbehave
cd "$folder"
failed=0

not_ok() {
    echo "not ok - $1"
    failed=1
}

# matrix NAME: standard input becomes NAME.yaml
matrix() {
    cat >"$1.yaml"
}

# run ARGUMENT…: leaves $status, $folder/out, $folder/err
run() {
    status=0
    "$runner" "$@" >out 2>err </dev/null || status=$?
}

# expect NAME STATUS PATTERN…: the exit, and that each pattern is in some line of either
# stream; a pattern after '!' must be in none
expect() {
    local name=$1 wanted=$2 pattern
    shift 2
    [ "$status" = "$wanted" ] || {
        not_ok "$name: exit $status instead of $wanted"
        tail -n 5 err
    }
    for pattern in "$@"; do
        if [ "${pattern:0:1}" = '!' ]; then
            ! grep -qE -- "${pattern:1}" out err || not_ok "$name: a line matches ${pattern:1}"
        elif ! grep -qE -- "$pattern" out err; then
            not_ok "$name: no line matches $pattern"
            tail -n 5 out err
        fi
    done
}

# attempts CELL-FOLDER-GLOB: how many attempts have a record
attempts() {
    find results -path "*/cells/$1/attempt-*/record.json" 2>/dev/null | wc -l
}

# with_status STATUS: how many records say so
with_status() {
    grep -lE "^ \"status\": \"$1\"" results/*/cells/*/attempt-*/record.json 2>/dev/null | wc -l
}

# nonces OUT: the nonce of every attempt below OUT
nonces() {
    find "$1" -name owner.json -exec sed -n 's/.*"nonce": "\([0-9a-f]*\)".*/LM_NONCE=\1/p' {} +
}

# nothing_left OUT: no process carries a nonce of OUT, given a few seconds to die
nothing_left() {
    local i
    nonces "$1" >"$folder/nonces"
    [ -s "$folder/nonces" ] || return 0
    for i in $(seq 100); do
        grep -lzqxFf "$folder/nonces" /proc/[0-9]*/environ 2>/dev/null || return 0
        sleep 0.1
    done
    grep -lzxFf "$folder/nonces" /proc/[0-9]*/environ 2>/dev/null
    return 1
}

# ended PID: it runs no more, given a few seconds; nobody need have waited for it
ended() {
    local i
    for i in $(seq 100); do
        grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status" || return 0
        sleep 0.1
    done
    return 1
}

# wait_for_step FILE-GLOB: until an event file that matches tells of a step
wait_for_step() {
    local i
    for i in $(seq 1000); do
        # shellcheck disable=SC2086
        grep -qs '"event":"step"' $1 && return 0
        sleep 0.02
    done
    not_ok "no step in $1"
}
