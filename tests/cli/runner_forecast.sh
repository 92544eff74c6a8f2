#!/usr/bin/env bash
# `runner forecast`: what it starts from, what it asks for, and how it refuses.
set -euo pipefail
source tests/helpers/runner.sh

run forecast
expect "no results are one sentence" 2 "there are no results in 'results'"
matrix small <<'YAML'
defaults: {layers: 1, d_model: 16, heads: 2, seq_len: 16, batch: 2, steps: 6,
  warmup_steps: 2, eval_batches: 1, data: "stories:20kB", threads: 1, device: cpu}
experiments:
  - name: weak
    zip: [{ranks: [1, 2], ddp: [none, bucketed]}]
  - name: strong
    global_batch: 4
    zip: [{ranks: [1, 2, 2], ddp: [none, naive, flat]}]
YAML
LM_WORKER=$build/worker-cpu run small.yaml
expect "the cells train" 0 '5 attempts, 5 ok'

run forecast
expect "without a curve and a link there is nothing to go by" 2 \
    'no all-reduce curve in these results; .*--link GB/s'
[ ! -s out ] || not_ok "a refusal prints no page"
run forecast --link 10 --latency 2
expect "a link speed will do" 0 '^# Forecast' '^## `weak/ranks=1,ddp=none`' \
    '^\| `bucketed` \| 10 \| 8 ' 'a link of 10 GB/s and hops of 2' \
    'weak scaling' 'strong scaling' 'Over 3 measured rows the step.s error is' \
    '^## The model' '^## Its limits' '^\| `strong/ranks=2,ddp=flat` ' \
    '!^\| `flat` \| 8 ' '7 rows from 2 cells'
run forecast results/small --link 10 --only weak --ranks 4
expect "a folder, a selection and ranks are taken" 0 '^\| `bucketed` \| 10 \| 4 ' \
    '!strong/' '!\| 8 \|'
run forecast --link 10 --ranks 64 --network 12.5 --per-node 4
expect "several nodes need a network" 0 '^\| `bucketed` \| 10 \| 64 \| 16 ' \
    'between nodes of 4 ranks 12.5 GB/s' 'by a tree'
run forecast --link 10 --json
expect "programs get JSON" 0 '"forecasts": \[' '"error_pct": -?[0-9]' '"limits": \['

run forecast --link 10 --ranks 16
expect "an unknown network is not guessed" 2 '16 ranks need 2 nodes of 8; .*--network'
run forecast --link 10 --ranks 16 --nodes 1 --network 10
expect "more ranks than the nodes have are refused" 2 '16 ranks need 2 nodes of 8; give'
run forecast --link fast
expect "a speed that is none is refused" 2 "--link: found 'fast', expected a number"
run forecast --link 1e300
expect "a speed that no link has is refused" 2 \
    "--link: found '1e300', expected a number from 0.001 to 100000"
run forecast --link 10 --latency 1e-300
expect "a latency that no link has is refused" 2 "--latency: found '1e-300', expected"
run forecast --link 100000 --latency 0.001
expect "the fastest link is printed plainly" 0 'a link of 100000 GB/s and hops of 0.001' '!inf'
run forecast --link 10 --ranks 1
expect "one rank is no forecast" 2 "--ranks: found '1', expected a whole number from 2"
run forecast --latency 3
expect "a latency without a link is refused" 2 '--latency goes with --link'
run forecast --link 10 --network-latency 3
expect "so is a network's latency without its speed" 2 '--network-latency goes with --network'
run forecast --link 10 --only weka
expect "an unknown name names the nearest" 2 "found 'weka'.*nearest is 'weak'"
run forecast --link 10 --only weak --where ranks=1
expect "without cells on several ranks every wrapper is forecast" 0 '^\| `naive` \| *\| 2 ' \
    '^\| `sharded` \| 10 \| 8 ' 'nothing here says how far off' '12 rows from 1 cell'
run forecast --link 10 --ranks 3 --only strong --where ranks=1
expect "a batch that cannot be shared out is no row" 2 'nothing can be forecast: strong'
exit $failed
