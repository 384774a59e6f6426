#!/usr/bin/env bash
# build.sh release|debug|asan|tsan|arm64|fuzz [TARGET...]: builds into build/<type>; the executable is
# build/<type>/coracle. arm64 is a release build of the product, without tests. fuzz needs clang (scripts/fuzz.sh installs
# it) and builds the libFuzzer targets, build/fuzz/fuzz_<name>.
# CORACLE_WERROR=ON|OFF: whether warnings are errors. Without it they are in release and arm64 builds by the compiler that
# the code is checked with, so that all of these share one cache; another compiler's new warnings stop nobody.
set -euo pipefail
cd "$(dirname "$0")/.."
type=${1:-release}
[ $# -eq 0 ] || shift
case $type in
  release) options=(-DCMAKE_BUILD_TYPE=Release) ;;
  debug)   options=(-DCMAKE_BUILD_TYPE=Debug) ;;
  asan)    options=(-DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DCORACLE_SANITIZE=address,undefined) ;;
  tsan)    options=(-DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DCORACLE_SANITIZE=thread) ;;
  arm64)   scripts/setup.sh arm64
           options=(-DCMAKE_BUILD_TYPE=Release "-DCMAKE_TOOLCHAIN_FILE=$PWD/scripts/arm64.cmake" -DCORACLE_TESTS=OFF
                    "-DCORACLE_DEPS=$PWD/build/deps/arm64") ;;
  fuzz)    options=(-DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DCMAKE_CXX_COMPILER=clang++-14
                    -DCORACLE_SANITIZE=fuzzer-no-link,address,undefined)
           [ $# -gt 0 ] || set -- fuzzers ;;
  *) echo "usage: scripts/build.sh release|debug|asan|tsan|arm64|fuzz [TARGET...]" >&2; exit 2 ;;
esac
werror=OFF
case $type in release|arm64) [ "$(c++ -dumpversion 2>/dev/null)" != 12 ] || werror=ON ;; esac
# Clones in other folders share what is cached, and files with a precompiled header are cached too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
if command -v ccache >/dev/null; then options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
cmake -S . -B "build/$type" -G Ninja "${options[@]}" -DCORACLE_WERROR="${CORACLE_WERROR:-$werror}" >"build/$type.cmake.log" 2>&1 || {
  cat "build/$type.cmake.log" >&2
  exit 1
}
ninja -C "build/$type" "$@"
