#!/usr/bin/env bash
# What a plan lists, what it refuses, and what every command says about itself.
set -euo pipefail
source tests/helpers/runner.sh

matrix m <<'YAML'
description: What does a plan show?
defaults: {steps: 5, warmup_steps: 1}
experiments:
  - name: plain
    tags: [small]
    axes: {batch: [1, 2]}
  - name: windowed
    tags: [small, odd]
    axes: {window: [8, 4096]}
  - name: half
    tags: [half]
    precision: bf16
YAML

run plan m.yaml
expect "every cell is listed, the excluded one with its reason" 0 'plain/batch=1$' \
    'plain/batch=2$' 'windowed/window=8$' 'half$' \
    'windowed/window=4096: a window of 4096' '4 cells, 1 excluded'
[ "$(wc -l <out)" = 8 ] || not_ok "nothing else is on standard output"
[ -e results ] && not_ok "a plan writes nothing"

run plan m.yaml --tags half odd --skip windowed
expect "tags add up and names take away" 0 'half$' '!plain' '!windowed' '1 cell, 0'
run plan m.yaml --only 'plain/*' half --where 'batch<=1'
expect "globs and conditions select" 0 'plain/batch=1$' '!batch=2' '1 cell, 0'
run plan m.yaml --only plain --set batch=7
expect "--set leaves one value on an axis" 0 'batch=7$' '1 cell, 0'
run plan m.yaml --only plain --batch-size 7
expect "--batch-size is --set batch" 0 'batch=7$' '1 cell, 0'
hash=$("$runner" plan m.yaml --only half 2>/dev/null | awk 'NR == 2 { print $1 }')
run plan m.yaml --only "$hash"
expect "a hash names its cell" 0 'half$' '1 cell, 0'
run plan m.yaml --json
expect "a plan speaks JSON" 0 '"cell": "plain/batch=1"' '"hash": "[0-9a-f]{12}"' \
    '"excluded": \[' '"because": "a window'
run plan m.yaml --memory
expect "a worker without a planner is an error" 2 "misbehave plan' ended with code 2"

run plan m.yaml --tags smal
expect "an unknown tag exits 2 and names the nearest" 2 "'smal'" "'small'"
run plan m.yaml --only plane
expect "an unknown name exits 2 and names the nearest" 2 "'plane'" "'plain'"
run plan m.yaml --where 'batch>64'
expect "an empty selection exits 2" 2 'runner: '
run plan m.yaml --set btach=1
expect "an unknown parameter exits 2 and names the nearest" 2 "'batch'"
run plan nosuch.yaml
expect "a missing file exits 2 with its name" 2 'nosuch.yaml'
run plan
expect "no matrix folder is said plainly" 2 "no matrix file in 'matrix/'"
printf 'experiments:\n  - name: a\n    lrr: 1\n' >bad.yaml
run bad.yaml
expect "a matrix error names file, line, column and the nearest name" 2 \
    "bad.yaml:3:5: .*'lrr'.*'lr'"
[ -e results ] && not_ok "a matrix error comes before anything is written"

run --help
expect "usage lists the commands" 0 'usage: runner' ' plan ' ' supervise ' ' forecast ' '!compare'
run plan --help
expect "plan --help lists every parameter with its default" 0 'bucket_mb' 'default: cosine'
run run --help
expect "run --help lists its options" 0 '--retry STATUS' '--keep-stale'
run compare a b
expect "what is not there yet is said plainly" 2 "'runner compare' is not part of this version"
run m.yaml --fersh
expect "an unknown option names the nearest" 2 "'--fersh'.*'--fresh'"
run m.yaml --jobs none
expect "a number that is none is refused" 2 "--jobs: found 'none'"
run m.yaml --jobs 100000000
expect "so are more cells at a time than files may be open" 2 \
    "--jobs: found '100000000', expected at most [0-9]*: as many files may be open"
run m.yaml --repeats 1001
expect "and more repeats than a matrix may ask for" 2 \
    "--repeats: found '1001', expected a whole number from 1 to 1000"
run m.yaml --retry sometimes
expect "an unknown status lists the known" 2 "'sometimes'.*oom_host"
run m.yaml --devices 7
expect "a GPU that is not there is refused" 2 'there is no GPU 7'
run plan m.yaml --yes
expect "an option of another command is refused" 2 "'runner plan' has no option --yes"
run dance
expect "an unknown command is refused" 2 "unknown command 'dance'"
run devices
expect "devices tells what there is" 0 'cpu .* cores' 'worker-cpu'
run devices --json
expect "devices speaks JSON" 0 '"cores": [0-9]+' '"worker_cpu"'
run supervise nosuch
expect "a supervisor without a spec says so" 1 'nosuch/spec.json'

{
    printf 'experiments:\n  - name: many\n    axes: {seed: ['
    seq -s, 1 1000
    printf '], lr_warmup: ['
    seq -s, 2 101
    printf ']}\n'
} >many.yaml
run plan many.yaml
expect "a hundred thousand cells are planned" 0 '100000 cells, 0 excluded'
exit $failed
