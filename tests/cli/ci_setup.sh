#!/usr/bin/env bash
# Where there is no apt, ci/setup says exactly what is missing and changes nothing.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for tool in bash env sed cut sort head id gcc cc git; do
    path=$(command -v "$tool") || continue
    ln -s "$path" "$bin/$tool"
done

status=0
output=$(PATH=$bin "$source/ci/setup" 2>&1) || status=$?
echo "$output"
failed=0
expect() { # NAME TEXT: the output has it
    if ! grep -qF -- "$2" <<<"$output"; then
        echo "not ok - $1"
        failed=1
    fi
}
[ "$status" = 1 ] || { echo "not ok - exit $status instead of 1"; failed=1; }
expect "a missing command is named with its package" "cmake for the build [cmake]"
expect "so is a missing library" "jansson for JSON [libjansson-dev]"
if grep -q "the C compiler" <<<"$output"; then
    echo "not ok - gcc is there, but was called missing"
    failed=1
fi
exit $failed
