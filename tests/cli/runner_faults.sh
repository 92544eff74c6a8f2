#!/usr/bin/env bash
# matrix/faults.yaml on the CPU: every fault ends in its status, the rank that suffered
# it is the one named, within the limit that applies, and nothing is left of any.
set -euo pipefail
root=$PWD
source tests/helpers/runner.sh
unset LM_WORKER

run "$root/matrix/faults.yaml" --set device=cpu --jobs 6
expect "every fault ends as expected" 0 '!unsupported +(killed|hung|no_start|none)'

# value RECORD KEY: of the top level
value() {
    sed -n "s/^ \"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$1" | head -n 1
}
seen=0
for record in results/faults/cells/*/attempt-1/record.json; do
    spec=${record%record.json}spec.json
    cell=$(basename "${record%/attempt-1/*}")
    rank=$(sed -n 's/^ *"inject_rank": \([0-9]*\),*$/\1/p' "$spec")
    case $(value "$record" status) in
    unsupported | ok) ;;
    timeout)
        [ "$(value "$record" guilty_rank)" = -1 ] || not_ok "$cell: nobody is named"
        ;;
    *)
        [ "$(value "$record" guilty_rank)" = "${rank:-0}" ] ||
            not_ok "$cell: rank $rank is named: $(value "$record" guilty_rank)"
        seen=$((seen + 1))
        ;;
    esac
done
[ $seen -ge 30 ] || not_ok "only $seen cells name a rank"

matrix diverging <<'YAML'
description: Who is to blame where all ranks diverge at once?
defaults: {device: cpu, layers: 1, d_model: 32, heads: 2, seq_len: 32, batch: 4,
  threads: 1, precision: fp16, lr: 100, steps: 60, warmup_steps: 1}
experiments:
  - name: all
    expect: invalid
    ranks: 3
    axes: {ddp: [naive, sharded]}
YAML
run diverging.yaml
expect "ranks that diverge end" 0 'invalid +all/ddp=naive' 'invalid +all/ddp=sharded'
for record in results/diverging/cells/*/attempt-1/record.json; do
    [ "$(value "$record" guilty_rank)" = -1 ] ||
        not_ok "none stands out: $(value "$record" guilty_rank)"
done
nothing_left results || not_ok "no process is left"
exit $failed
