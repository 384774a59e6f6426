#!/usr/bin/env bash
# Installs what building and testing Coracle needs on Debian 12, and builds civetweb and libcurl as
# static libraries from Debian's source packages into build/deps. Idempotent; root.
set -euo pipefail
cd "$(dirname "$0")/.."
deps=$PWD/build/deps
export DEBIAN_FRONTEND=noninteractive

packages=(
  cmake g++ ninja-build ccache pkg-config make dpkg-dev ca-certificates git xz-utils patch
  clang-format clang-tidy
  libsqlite3-dev libnl-3-dev libnl-route-3-dev nlohmann-json3-dev libspdlog-dev libgtest-dev libgmock-dev
  libcli11-dev libyaml-cpp-dev libssl-dev zlib1g-dev
  iptables iproute2 iputils-ping procps util-linux curl jq openssl python3
)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing+=("$p")
done
updated=
refresh() { [ -n "$updated" ] || apt-get update -qq; updated=1; }
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  refresh
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
# A kubectl on PATH wins: Debian's package clashes with one that is already there.
if ! command -v kubectl >/dev/null; then
  refresh
  apt-get install -y -qq --no-install-recommends kubernetes-client >/dev/null
fi

# The machine's own apt sources of Debian packages, as source lines: both the one-line and the deb822 format.
deb_src_lines() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    awk '/^deb /{sub(/^deb /,"deb-src ");print}
         /^URIs:/{uris=$2}
         /^Suites:/{$1="";suites=$0}
         /^Components:/{$1="";n=split(suites,s," ");for(i=1;i<=n;i++)print "deb-src",uris,s[i],$0}' "$file"
  done | grep -i debian
}

# fetch_source PACKAGE DIR: the package's source as Debian ships it, patches applied, into DIR.
fetch_source() {
  local list
  list=$(mktemp -d)
  mkdir -p "$list/lists/partial" "$2"
  deb_src_lines >"$list/sources.list"
  local opts=(-o "Dir::Etc::sourcelist=$list/sources.list" -o "Dir::Etc::sourceparts=-"
              -o "Dir::State::lists=$list/lists" -o APT::Sandbox::User=root)
  apt-get update -qq "${opts[@]}"
  (cd "$2" && apt-get source -qq "${opts[@]}" "$1" >/dev/null)
  rm -rf "$list"
}

build_civetweb() {
  local work patch=$PWD/scripts/civetweb.patch; work=$(mktemp -d)
  fetch_source civetweb "$work"
  cd "$work"/civetweb-*/
  patch -p1 -s <"$patch"  # it serves connections that others accept: mg_hand_over
  # OpenSSL 3 linked directly (Debian's own library looks symbols up at run time and misses one). Threads look
  # every 100 ms, not every 2 s, whether the server stops.
  local flags="-O2 -w -fPIC -Iinclude -DNO_SSL_DL -DOPENSSL_API_3_0 -DUSE_WEBSOCKET -DUSE_IPV6 -DUSE_ZLIB
               -DNO_CGI -DNO_FILES -DNO_CACHING -DUSE_STACK_SIZE=262144 -DSOCKET_TIMEOUT_QUANTUM=100 -DNDEBUG -fvisibility=hidden"
  # shellcheck disable=SC2086
  gcc $flags -fvisibility=default -c src/civetweb.c -o civetweb.o
  ar rcs libcivetweb.a civetweb.o
  install -D -m 644 libcivetweb.a "$deps/lib/libcivetweb.a"
  install -D -m 644 include/civetweb.h "$deps/include/civetweb.h"
  cd - >/dev/null; rm -rf "$work"
}

build_curl() {
  local work; work=$(mktemp -d)
  fetch_source curl "$work"
  cd "$work"/curl-*/
  cmake -S . -B out -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DBUILD_CURL_EXE=OFF \
    -DHTTP_ONLY=ON -DCURL_USE_OPENSSL=ON -DCURL_ZLIB=ON -DCURL_USE_LIBSSH2=OFF -DCURL_USE_LIBPSL=OFF \
    -DUSE_LIBIDN2=OFF -DUSE_NGHTTP2=OFF -DCURL_BROTLI=OFF -DCURL_ZSTD=OFF -DCURL_DISABLE_LDAP=ON \
    -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none -DENABLE_MANUAL=OFF -DBUILD_TESTING=OFF \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON >/dev/null
  ninja -C out libcurl_static >/dev/null 2>&1 || ninja -C out >/dev/null
  install -D -m 644 out/lib/libcurl.a "$deps/lib/libcurl.a"
  mkdir -p "$deps/include/curl"; cp include/curl/*.h "$deps/include/curl/"
  cd - >/dev/null; rm -rf "$work"
}

# The oldest kubectl that is supported, for the tests: Debian's, unpacked beside whatever is installed.
fetch_old_kubectl() {
  local work; work=$(mktemp -d)
  refresh
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root kubernetes-client >/dev/null && dpkg -x kubernetes-client_*.deb out)
  install -D -m 755 "$work/out/usr/bin/kubectl" "$deps/kubectl-1.20/kubectl"
  rm -rf "$work"
}
[ -x "$deps/kubectl-1.20/kubectl" ] || fetch_old_kubectl

stamp=$deps/stamp-3
if [ ! -e "$stamp" ]; then
  echo "setup: building civetweb and libcurl from Debian's sources (once)"
  mkdir -p "$deps"
  build_civetweb
  [ -e "$deps/lib/libcurl.a" ] || build_curl
  touch "$stamp"
fi
echo "setup: ready"
