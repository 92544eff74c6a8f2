#!/usr/bin/env bash
# Ranks that meet in shared memory train what one rank trains on the joined batch.
set -euo pipefail
source tests/helpers/worker.sh

cell=(steps=12 seq_len=32 log_every=1 eval_batches=0 lr=0.003)
run "${cell[@]}" batch=8
cp "$folder/events" "$folder/alone"
[ "$status" = 0 ] || not_ok "one rank alone"
for shape in "2 naive" "2 bucketed" "2 sharded" "4 bucketed"; do
    read -r world ddp <<<"$shape"
    ranks "$world" "${cell[@]}" global_batch=8 ddp="$ddp" bucket_mb=0.01
    [[ ${statuses[*]} =~ ^0(\ 0)*$ ]] ||
        not_ok "$shape: exits ${statuses[*]}: $(cat "$folder"/stderr.*)"
    for name in first_loss final_loss val_loss; do
        a=$(field "$folder/alone" result $name)
        b=$(field "$folder/events.0" result $name)
        near "$a" "$b" 1e-4 || not_ok "$shape: $name is $b instead of $a"
        c=$(field "$folder/events.1" result $name)
        [ "$b" = "$c" ] || not_ok "$shape: the ranks disagree about $name: $b, $c"
    done
    [ "$(field "$folder/events.0" result val_tokens)" = 1999 ] ||
        not_ok "$shape: every token of the split is evaluated once"
    [ "$(field "$folder/events.1" result window_tokens)" = $((11 * 8 * 32 / world)) ] ||
        not_ok "$shape: each rank counts its own tokens"
    sum=0
    for ((r = 0; r < world; r++)); do
        sum=$((sum + $(field "$folder/events.$r" result comm_bytes)))
    done
    # Every rank reads the others' part of its slice, and writes theirs: 2 x (N - 1)
    # times the gradient, padded to whole slots, in each of 12 steps.
    grads=$(field "$folder/events.0" result grads_bytes)
    least=$((12 * 2 * (world - 1) * $(field "$folder/events.0" result params) * 4))
    most=$((12 * 2 * (world - 1) * grads))
    # Here come the residual stream's gradient and the tokens, from every other rank.
    [ "$ddp" != bucketed ] || most=$((most + 12 * (world - 1) * 8 * 32 * (16 + 1) * 4))
    # Half of it comes back later, and for the evaluation too.
    [ "$ddp" != sharded ] || most=$((2 * most)) least=$((least / 2))
    [ $sum -ge $least ] && [ $sum -le $most ] ||
        not_ok "$shape: $sum bytes moved, from $least to $most"
    cp "$folder/events.0" "$folder/$ddp$world"
done
# Cut into shards or not, the bits are the same.
steps() { sed -n 's/.*"event":"step".*"loss":\([^,]*\).*/\1/p' "$1"; }
[ "$(steps "$folder/naive2" | wc -l)" = 12 ] || not_ok "a loss for each step"
[ "$(steps "$folder/naive2")" = "$(steps "$folder/sharded2")" ] ||
    not_ok "naive and sharded agree to the bit"

# An epoch that ends within the last step, and an evaluation within a batch: the same
# tokens whatever the number of ranks, and however many rows are left for each.
epoch=(epochs=1 warmup_steps=0 seq_len=64 eval_batches=0 lr=0.003 log_every=1)
run "${epoch[@]}" batch=24
cp "$folder/events" "$folder/alone"
tokens=$(field "$folder/alone" result tokens_trained)
windows=$(($(field "$folder/alone" facts train_tokens) / 64))
[ "$tokens" = $((windows * 64)) ] && [ $((windows % 24)) != 0 ] ||
    not_ok "an epoch is every window once: $tokens tokens of $windows windows"
[ "$(field "$folder/alone" step tokens)" = $((windows % 24 * 64)) ] ||
    not_ok "the last step is short: $(field "$folder/alone" step tokens)"
near "$(field "$folder/alone" result final_loss)" "$(field "$folder/alone" result val_loss)" 0.4 ||
    not_ok "its loss is a mean over what it has: $(field "$folder/alone" result final_loss)"
for shape in "2 naive" "3 sharded" "8 bucketed" "8 sharded"; do
    read -r world ddp <<<"$shape"
    ranks "$world" "${epoch[@]}" global_batch=24 ddp="$ddp" bucket_mb=0.01
    [[ ${statuses[*]} =~ ^0(\ 0)*$ ]] || not_ok "$shape: exits ${statuses[*]}"
    sum=0
    for ((r = 0; r < world; r++)); do
        sum=$((sum + $(field "$folder/events.$r" result tokens_trained)))
    done
    [ $sum = "$tokens" ] || not_ok "$shape: $sum tokens an epoch, not $tokens"
    for name in final_loss val_loss val_accuracy; do
        a=$(field "$folder/alone" result $name)
        b=$(field "$folder/events.0" result $name)
        near "$a" "$b" 1e-4 || not_ok "$shape: $name at the end is $b instead of $a"
    done
    [ "$(field "$folder/events.0" result val_tokens)" = 1999 ] ||
        not_ok "$shape: evaluate every token once"
done
ranks 2 "${epoch[@]}" batch=24 ddp=naive
[ $(($(field "$folder/events.0" result tokens_trained) +
    $(field "$folder/events.1" result tokens_trained))) = "$tokens" ] ||
    not_ok "an epoch is the same tokens whatever the batch"

run global_batch=8 eval_batches=2
cp "$folder/events" "$folder/alone"
ranks 2 ddp=naive global_batch=8 eval_batches=2
[ "$(field "$folder/alone" result val_tokens)" = 256 ] &&
    [ "$(field "$folder/events.0" result val_tokens)" = 256 ] ||
    not_ok "eval_batches means the same tokens, however the batch is shared out"
ranks 2 ddp=naive memory_limit=20000
grep -q '"kind":"oom_host".*"predicted":true' "$folder/events.1" || not_ok "each rank plans"

# Two ranks take no more than their plan and some small stacks; AddressSanitizer's shadow
# alone is beyond any limit.
(
    grep -qE '__[at]san_init' "$worker" && exit 0
    ulimit -d 12288
    ranks 2 layers=1 d_model=32 heads=2 seq_len=32 batch=2 steps=6 warmup_steps=2 \
        eval_batches=2 ddp=naive
    [ "${statuses[*]}" = "0 0" ] || not_ok "12 MiB do: $(cat "$folder"/stderr.*)"
    exit $failed
) || failed=1

# What is this rank's own fault is blamed on nobody, and no file is written over.
echo hello >"$folder/file"
echo hello >/dev/shm/lm_ranks_$$
spec "$folder/spec.json" ranks=2 ddp=naive
for case in "$folder/file:is a file" "/dev/shm/lm_ranks_$$:is a file" \
    "/dev/zero:is a file or a device"; do
    status=0
    LM_RANK=0 LM_WORLD=2 LM_SHM_FD=8 "$worker" run "$folder/spec.json" \
        8<>"${case%%:*}" >"$folder/events" 2>"$folder/stderr" || status=$?
    expect "shared memory in ${case%%:*}" 1 "\"kind\":\"failed\".*${case#*:}"
    grep -q collateral "$folder/events" && not_ok "${case%%:*} is nobody else's fault"
done
[ "$(cat "$folder/file" /dev/shm/lm_ranks_$$)" = $'hello\nhello' ] || not_ok "files stay"
rm /dev/shm/lm_ranks_$$
open_shared
echo hello >&9
status=0
LM_RANK=0 LM_WORLD=2 LM_SHM_FD=9 "$worker" run "$folder/spec.json" >"$folder/events" \
    2>"$folder/stderr" || status=$?
expect "memory with something in it" 1 'holds 6 bytes of something else'
exit $failed
