#!/usr/bin/env bash
# Twenty kills at random instants: ten of the runner, ten of its supervisors. ci/soak
# does the same at length, with real workers.
set -euo pipefail
file=$(mktemp --suffix=.yaml)
trap 'rm -f "$file"' EXIT
cat >"$file" <<'YAML'
description: Is anything lost when the runner is killed?
defaults: {steps: 5, warmup_steps: 1, heartbeat_s: 60}
experiments:
  - name: ok
    env: {MISBEHAVE: ok}
    axes: {seed: [1, 2, 3]}
  - name: slow
    env: {MISBEHAVE: slow_start}
  - name: crash
    expect: crashed
    env: {MISBEHAVE: segv}
  - name: orphan
    env: {MISBEHAVE: daemon}
    ranks: 2
    ddp: naive
  - name: slower
    env: {MISBEHAVE: slow_start}
    ranks: 2
    ddp: naive
YAML
tests/helpers/kills.sh runner 10 "$file" 1200 "${1:-}"
tests/helpers/kills.sh supervisor 10 "$file" 1200 "${1:-}"
