#!/usr/bin/env bash
# A cell by hand: its events in order, its result, and every way it can be refused.
set -euo pipefail
unset LM_DATA
source tests/helpers/worker.sh

run log_every=1
expect "a small cell trains" 0 '"event":"hello".*"protocol":1,"build":"[0-9a-f]{40}"' \
    '"event":"facts".*"data_digest":"[0-9a-f]{64}","data_bytes":20000,"train_tokens":17000' \
    '"kind":"activations","planned_bytes":[0-9]+,"measured_bytes":[0-9]+' \
    '"event":"eval".*"step":4' '"val_ppl":[0-9.]+'
order=$(sed -n 's/.*"event":"\(hello\|phase\|result\)".*\("name":"[a-z]*"\).*/\2/p; s/.*"event":"\(hello\|result\)".*/\1/p' \
    "$folder/events" | sed 's/"name":"\(.*\)"/\1/' | xargs)
[ "$order" = "hello start warmup measure eval instrument end result" ] ||
    not_ok "phases come in order: $order"
[ "$(grep -c '"event":"step"' "$folder/events")" = 4 ] || not_ok "one event a step"
[ "$(tail -n 1 "$folder/events" | grep -c '"event":"result"')" = 1 ] ||
    not_ok "the result is last"
[ "$(grep -c '"event":"ops"' "$folder/events")" = 1 ] || not_ok "the ops of a step, once"
grep '"event":"ops"' "$folder/events" | grep -qE '"steps":3,"mark_ms":[0-9.e-]+,"ops":\[.*"op":"matmul_forward","what":"hidden","calls":1,"ms":[0-9.e-]+,"bytes":[0-9]+,"flops":[0-9.]+' ||
    not_ok "ops tell what they do, cost and move"
[ -s "$folder/stderr" ] && not_ok "nothing is said on standard error"
for metric in tokens_per_s window_tokens window_ms window_steps step_ms_median \
    step_ms_p10 step_ms_p90 step_noise data_ms forward_ms backward_ms comm_exposed_ms \
    optimizer_ms startup_ms train_s s_per_epoch tokens_trained params planned_bytes \
    peak_bytes forward_bytes backward_bytes witness_bytes params_bytes grads_bytes \
    optimizer_bytes activations_bytes scratch_bytes library_bytes first_loss final_loss \
    val_loss val_ppl val_accuracy val_tokens flops_per_token hfu_flops_per_token loss_scale \
    skipped_steps; do
    [ -n "$(field "$folder/events" result $metric)" ] || not_ok "the result has $metric"
done
near "$(field "$folder/events" result first_loss)" 5.545 0.1 ||
    not_ok "the first loss is near ln 256"
[ "$(field "$folder/events" result window_tokens)" = 96 ] ||
    not_ok "the window has the steps after the warm-up: 3 x 2 x 16 tokens"
[ "$(field "$folder/events" result val_tokens)" = 96 ] ||
    not_ok "three batches of the validation split"

run steps=30 lr=0.01 log_every=10 eval_every=10 batch=8
expect "loss falls" 0
near "$(field "$folder/events" result final_loss)" 3.2 0.8 ||
    not_ok "30 steps bring the loss down: $(field "$folder/events" result final_loss)"
[ "$(grep -c '"event":"eval"' "$folder/events")" = 3 ] ||
    not_ok "evaluated after steps 10, 20 and 30"

cp "$folder/events" "$folder/first"
run steps=30 lr=0.01 log_every=10 batch=8
[ "$(field "$folder/events" result final_loss)" = "$(field "$folder/first" result final_loss)" ] ||
    not_ok "the same cell gives the same bits, evaluated on its way or not"

run epochs=1 eval_batches=0 warmup_steps=0 seq_len=64 batch=66
expect "an epoch is as many steps as the split has windows" 0 \
    '"event":"eval".*"step":5,.*"tokens":1999' '"window_steps":5'

run split=100/0/0
expect "without a validation split there is no evaluation" 0
grep -qE '"event":"eval"|val_loss' "$folder/events" && not_ok "nothing to evaluate"

run noop=1
expect "a spec with an unknown parameter is refused" 1 '"kind":"failed".*noop'
run lr=1000 grad_clip=0 steps=20
expect "a run that diverges is invalid" 1 '"event":"error".*"kind":"invalid"'
run data=nowhere.txt
expect "missing data is named" 1 \
    '"kind":"failed","phase":"start".*cannot open data file .nowhere.txt.*LM_DATA.*not set'
mkdir "$folder/texts"
printf 'a line of text\n%.0s' {1..200} >"$folder/texts/a.txt"
LM_DATA=texts run data=nowhere.txt
expect "which a relative LM_DATA is part of" 1 "cannot open data file 'texts/nowhere.txt': No such file[^;]*\""
LM_DATA=$folder/texts run data=a.txt
expect "LM_DATA is where data lies" 0 '"data":"a.txt, 0.0 MB".*"data_bytes":3000'
run vocab=100
expect "a vocabulary under the tokenizer's" 1 'vocab 100 is smaller than the tokenizer.s 256'
run tokenizer='"4096"'
expect "a tokenizer of later" 1 '"kind":"unsupported".*tokenizer .4096.'
run task=generate
expect "a task of later" 1 '"kind":"unsupported".*task generate'
run graph=on
expect "graphs on a CPU" 1 '"kind":"unsupported".*graph on'
run device=cuda
expect "a device that is absent" 77 '"kind":"unsupported".*device cuda'
run kernel=cudnn
expect "a kernel that is absent" 1 '"kind":"unsupported"'
run engine=torch
expect "another engine" 1 '"kind":"unsupported".*engine torch'
run batch=max
expect "the largest batch" 1 '"kind":"unsupported".*batch max'
run memory_limit=20000
expect "a plan above memory_limit" 1 \
    '"kind":"oom_host".*"bytes_asked":[0-9]+,"bytes_free":20000,"predicted":true'
run batch=1000000 seq_len=256
expect "a plan above the machine" 1 '"kind":"oom_host".*"predicted":true'
run ranks=2 ddp=naive
expect "a rank without its others" 1 'the cell has 2 ranks, but LM_WORLD is 1'
run task=noop
expect "noop says hello and stops" 0 '"event":"hello"' '"event":"result"'
[ "$(wc -l <"$folder/events")" = 4 ] || not_ok "noop says no more than it must"

status=0
"$worker" run "$folder/none.json" >"$folder/events" 2>"$folder/stderr" || status=$?
expect "a spec that is missing" 1 '"kind":"failed".*none.json'
exit $failed
