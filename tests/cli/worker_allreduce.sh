#!/usr/bin/env bash
# Ranks that add up arrays: each size checked, timed and told; what cannot be is refused.
set -euo pipefail
source tests/helpers/worker.sh

# events PATTERN: how many of rank 0's events match
events() { grep -cE -- "$1" "$folder/events.0" || true; }

cell=(task=allreduce memory_limit=4194304)
for shape in "2 fp32" "3 bf16" "4 fp16"; do
    read -r world precision <<<"$shape"
    ranks "$world" "${cell[@]}" precision="$precision"
    [[ ${statuses[*]} =~ ^0(\ 0)*$ ]] ||
        not_ok "$shape: exits ${statuses[*]}: $(cat "$folder"/stderr.*)"
    # A quarter of 4 MiB: 64 KiB, 256 KiB and 1 MiB.
    [ "$(sed -n 's/.*"event":"allreduce".*"bytes":\([0-9]*\),.*/\1/p' "$folder/events.0" |
        tr '\n' ' ')" = "65536 262144 1048576 " ] || not_ok "$shape: three sizes"
    grep -q '"sizes_left_out":"an array may take a quarter.* 1048576 bytes here"' \
        "$folder/events.0" || not_ok "$shape: what is left out is said"
    # Every rank knows the slowest one's times.
    rows() { sed -n 's/.*"event":"allreduce","t_ms":[0-9]*,//p' "$folder/events.$1"; }
    for ((r = 1; r < world; r++)); do
        [ "$(rows "$r")" = "$(rows 0)" ] || not_ok "$shape: rank $r tells other times"
    done
    rows 0 | awk -v n="$world" -F '[:,}]' '
        $2 > 0 && $6 > 0 && $6 <= $4 && $4 <= $8 {
            bus = $2 * 2 * (n - 1) / n / $4 * 1000
            good += $10 > bus * 0.999 && $10 < bus * 1.001
            if ($10 > most) { most = $10 }
        }
        END { printf "%d %.6g\n", good, most }' >"$folder/checked"
    read -r good most <"$folder/checked"
    [ "$good" = 3 ] || not_ok "$shape: percentiles in order and bus bandwidths: $(rows 0)"
    told=$(field "$folder/events.0" result allreduce_bus_bytes_per_s)
    [ "$(printf %.6g "$told")" = "$most" ] || not_ok "$shape: $told is not the largest, $most"
    [ "$(field "$folder/events.0" result allreduce_latency_ms)" = \
        "$(rows 0 | sed -n '1s/.*"ms_median":\([^,]*\),.*/\1/p')" ] ||
        not_ok "$shape: latency is the smallest size's time"
done

ranks 2 "${cell[@]}" inject=nan inject_rank=1
for r in 0 1; do
    [ "${statuses[r]}" = 1 ] || not_ok "a wrong sum ends rank $r with 1"
    grep -q '"kind":"invalid","phase":"measure","step":1,.*262144 bytes element 0 is nan' \
        "$folder/events.$r" || not_ok "rank $r finds the wrong sum"
done
[ "$(events '"event":"(allreduce|result)"')" = 1 ] || not_ok "and times it no more"
ranks 2 "${cell[@]}" inject=segv inject_step=9
grep -q 'inject_step 9 is past the last step, 3' "$folder/events.0" ||
    not_ok "a fault past the last size is refused"
ranks 2 "${cell[@]}" inject=exit inject_phase=end
[ "${statuses[0]}" = 3 ] || not_ok "a fault at the end strikes there"
[ "$(events '"event":"allreduce"')" = 3 ] || not_ok "after the last size"
ranks 2 "${cell[@]}" inject=exit inject_phase=eval
grep -q 'inject_phase eval: task allreduce has no such phase' "$folder/events.1" ||
    not_ok "a fault in a phase there is not is refused"
ranks 2 task=allreduce memory_limit=200000
grep -q '"kind":"oom_host".*"bytes_asked":65536,"bytes_free":50000,"predicted":true' \
    "$folder/events.1" || not_ok "no room for the smallest size"

run task=allreduce
expect "one rank" 1 '"kind":"unsupported".*goes with 2 to 64 ranks, not 1'
ranks 2 task=allreduce precision=tf32
grep -q '"kind":"unsupported".*precision tf32' "$folder/events.0" || not_ok "no tf32"
spec "$folder/question" task=allreduce ranks=2
"$worker" plan <"$folder/question" >"$folder/events"
status=0
expect "its plan" 0 '"planned_bytes":1073741824,.*"scratch_bytes":1073741824'
# A quarter of the limit; where not even the smallest size fits, that one is asked for.
for case in "67108864 16777216" "64000000 4194304" "200000 65536"; do
    read -r limit bytes <<<"$case"
    spec "$folder/question" task=allreduce ranks=2 memory_limit="$limit"
    "$worker" plan <"$folder/question" >"$folder/events"
    expect "its plan under a limit of $limit" 0 "\"planned_bytes\":$bytes,"
done
exit $failed
