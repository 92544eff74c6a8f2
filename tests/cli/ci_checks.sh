#!/usr/bin/env bash
# Every check under ci/ refuses a tree that breaks its rule and passes one that keeps it.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failed=0
number=0

expect() { # STATUS TEXT NAME COMMAND…: COMMAND exits so and its output holds TEXT
    local wanted=$1 text=$2 name=$3 status=0 output
    shift 3
    output=$(LM_SOURCE=$tree "$@" 2>&1) || status=$?
    number=$((number + 1))
    if [ "$status" = "$wanted" ] && grep -qF -- "$text" <<<"$output"; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name: exit $status, $output"
        failed=1
    fi
}

fresh() {
    rm -rf "$tree"
    mkdir -p "$tree"/{matrix,kernels/cuda,reports,runner,worker,tests}
    cp "$source/.clang-format" "$tree"
    printf '/* A noun. */\nvoid noun_verb(void);\n' >"$tree/matrix/noun.h"
    printf '#include "matrix/noun.h"\n\nvoid noun_verb(void) {\n}\n' \
        >"$tree/matrix/noun.c"
}

compile() { # FILE: an object where a build would have put it
    local object=$tree/build/CMakeFiles/matrix_layer.dir/$1.o
    mkdir -p "$(dirname "$object")"
    gcc -I"$tree" -c "$tree/$1" -o "$object"
}

fresh
expect 0 "" "layers: a tree that keeps them passes" "$source/ci/check-layers"
echo '#include "worker/engine.h"' >"$tree/runner/bad.c"
expect 1 "runner/ may not include worker/" "layers: the runner knows no worker" \
    "$source/ci/check-layers"
fresh
echo '#include "matrix/noun.h"' >"$tree/kernels/bad.h"
expect 1 "kernels/bad.h:1" "layers: kernels know nothing of the project" \
    "$source/ci/check-layers"
fresh
echo '#include <cuda_runtime.h>' >"$tree/worker/bad.c"
echo '#include <cuda_runtime.h>' >"$tree/kernels/cuda/good.cu"
expect 1 "worker/bad.c:1: <cuda_runtime.h>" "layers: CUDA stays in its folder" \
    "$source/ci/check-layers"
fresh
echo '#include "noun.h"' >"$tree/matrix/bad.c"
expect 1 "not written from the root" "layers: includes are written from the root" \
    "$source/ci/check-layers"

fresh
compile matrix/noun.c
expect 0 "" "symbols: prefixed globals pass" "$source/ci/check-symbols" "$tree/build"
echo 'int other_verb(void) { return 0; }' >>"$tree/matrix/noun.c"
compile matrix/noun.c
expect 1 'global "other_verb"' "symbols: another file's prefix is refused" \
    "$source/ci/check-symbols" "$tree/build"

fresh
expect 0 "" "headers: one that stands alone passes" "$source/ci/check-headers"
printf '/* Needs stddef.h. */\nsize_t noun_size(void);\n' >"$tree/matrix/bad.h"
expect 1 "size_t" "headers: one that needs another is refused" \
    "$source/ci/check-headers"
printf 'void noun_say(void);\n' >"$tree/matrix/bad.h"
expect 1 "bad.h:1: does not open" "headers: one without prose is refused" \
    "$source/ci/check-headers"

fresh
expect 0 "" "banned: a clean tree passes" "$source/ci/check-banned"
echo 'void noun_copy(char *a) { strcpy(a, "b"); }' >>"$tree/matrix/noun.c"
expect 1 "matrix/noun.c:5" "banned: strcpy is refused" "$source/ci/check-banned"
fresh
printf 'see /%s/someone/notes\n' home >"$tree/README.md"
expect 1 "README.md:1" "banned: a path of a machine is refused" \
    "$source/ci/check-banned"

repository() { # a git tree of one commit on main
    fresh
    git -C "$tree" init -q -b main
    git -C "$tree" config user.name noun
    git -C "$tree" config user.email noun@example.org
    commit "matrix: add a noun"
}

commit() { # SUBJECT
    git -C "$tree" add -A
    git -C "$tree" commit -q --allow-empty -m "$1"
}

repository
git -C "$tree" checkout -q -b topic
commit "matrix: say noun twice"
expect 0 "" "commits: area and imperative pass" "$source/ci/check-commits"
commit "Say the noun."
expect 1 '"Say the noun."' "commits: a subject without area is refused" \
    "$source/ci/check-commits"

repository
status=0
LM_SOURCE=$tree "$source/ci/check-format" >/dev/null 2>&1 || status=$?
if [ "$status" != 77 ]; then
    expect 0 "" "format: formatted files pass" "$source/ci/check-format"
    printf 'void noun_more( int a )\n{\n}\n' >>"$tree/matrix/noun.c"
    expect 1 "matrix/noun.c:5" "format: others are refused" "$source/ci/check-format"
fi

expect 1 "LM_BUILD: there is no folder '$tree/nowhere'" \
    "gpu-test: a build folder that is not there is named" \
    env LM_BUILD="$tree/nowhere" "$source/ci/gpu-test"
mkdir -p "$tree/built"
expect 1 "$tree/built/runner is missing, expected a build with CUDA" "gpu-test: so is what a build lacks" \
    env LM_BUILD="$tree/built" "$source/ci/gpu-test"

echo "1..$number"
exit $failed
