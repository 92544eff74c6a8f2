# Sourced by tests/cli/worker_*.sh: specs of tiny cells, runs by hand, what came back.
worker=${LM_BUILD:-build}/worker-cpu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

not_ok() {
    echo "not ok - $1"
    failed=1
}

# spec FILE key=value…: a cell that trains in a moment, and what differs from it
spec() {
    local file=$1 name value params=
    declare -A values=([layers]=1 [d_model]=16 [heads]=2 [seq_len]=16 [batch]=2
        [steps]=4 [warmup_steps]=1 [lr_warmup]=1 [threads]=1 [data]='"stories:20kB"'
        [eval_batches]=3)
    shift
    for pair in "$@"; do
        name=${pair%%=*}
        value=${pair#*=}
        [[ $value =~ ^(-?[0-9.e+-]+|\".*\")$ ]] || value="\"$value\""
        values[$name]=$value
    done
    for name in "${!values[@]}"; do
        params+="${params:+, }\"$name\": ${values[$name]}"
    done
    printf '{"format": 1, "protocol": 1, "matrix": "m", "cell": "c", %s}\n' \
        "\"hash\": \"0123456789ab\", \"attempt\": 1, \"expect\": null,
        \"worker\": [\"worker-cpu\"], \"params\": {$params}" | tr -d '\n' >"$file"
    echo >>"$file"
}

# run key=value…: run that cell; leaves $status, $folder/events, $folder/stderr
run() {
    spec "$folder/spec.json" "$@"
    status=0
    "$worker" run "$folder/spec.json" >"$folder/events" 2>"$folder/stderr" || status=$?
}

# expect NAME STATUS PATTERN…: the exit, and that each pattern is in some event
expect() {
    local name=$1 wanted=$2 pattern
    shift 2
    [ "$status" = "$wanted" ] || not_ok "$name: exit $status instead of $wanted"
    for pattern in "$@"; do
        grep -qE -- "$pattern" "$folder/events" || {
            not_ok "$name: no event matches $pattern"
            tail -n 3 "$folder/events"
        }
    done
}

# field EVENTS EVENT NAME: the last such event's number of that name
field() {
    grep "\"event\":\"$2\"" "$1" | tail -n 1 | sed -n "s/.*\"$3\":\([^,}]*\).*/\1/p"
}

# near A B TOLERANCE
near() {
    awk -v a="$1" -v b="$2" -v t="$3" \
        'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= t && d >= -t) }'
}

# open_shared: as descriptor 9 new shared memory that has no name
open_shared() {
    local file
    file=$(mktemp /dev/shm/lm_ranks_XXXXXX)
    exec 9<>"$file"
    rm "$file"
}

# ranks N key=value…: N ranks that meet in shared memory; leaves statuses, events.R
ranks() {
    local world=$1 r pids=()
    shift
    spec "$folder/spec.json" ranks="$world" "$@"
    open_shared
    statuses=()
    for ((r = 0; r < world; r++)); do
        LM_RANK=$r LM_WORLD=$world LM_SHM_FD=9 "$worker" run "$folder/spec.json" \
            >"$folder/events.$r" 2>"$folder/stderr.$r" &
        pids+=($!)
    done
    for ((r = 0; r < world; r++)); do
        local code=0
        wait "${pids[r]}" || code=$?
        statuses+=("$code")
    done
}
