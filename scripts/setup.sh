#!/usr/bin/env bash
# setup.sh [arm64]: installs what building and testing Coracle needs on Debian 12, and builds civetweb and libcurl as
# static libraries from Debian's source packages into build/deps. Idempotent; root.
# arm64: Debian's cross compiler, and under build/deps/arm64 the same two libraries (lib, include), a sysroot with the
# arm64 libraries and an emulator (qemu). The machine's own dpkg keeps the architectures it has.
set -euo pipefail
cd "$(dirname "$0")/.."
arch=${1:-}
deps=$PWD/build/deps cc=(gcc) ar=ar toolchain=()
case $arch in
  "") ;;
  arm64)
    deps+=/arm64 ar=aarch64-linux-gnu-ar
    cc=(aarch64-linux-gnu-gcc "--sysroot=$deps/sysroot")
    toolchain=("-DCMAKE_TOOLCHAIN_FILE=$PWD/scripts/arm64.cmake")
    ;;
  *) echo "usage: scripts/setup.sh [arm64]" >&2; exit 2 ;;
esac
export DEBIAN_FRONTEND=noninteractive

packages=(
  cmake g++ ninja-build ccache pkg-config make dpkg-dev ca-certificates git xz-utils patch
  clang-format clang-tidy
  libsqlite3-dev libnl-3-dev libnl-route-3-dev nlohmann-json3-dev libspdlog-dev libgtest-dev libgmock-dev
  libcli11-dev libyaml-cpp-dev libssl-dev zlib1g-dev libldns-dev libnghttp2-dev
  iptables nftables iproute2 iputils-ping procps util-linux curl jq openssl python3 libfaketime bind9-dnsutils musl-tools busybox
)
[ "$arch" != arm64 ] || packages+=(g++-aarch64-linux-gnu)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing+=("$p")
done
updated=
# A source of others that cannot be read is no reason to stop: what matters is whether the packages are there.
refresh() { [ -n "$updated" ] || apt-get update -qq || true; updated=1; }
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

# The machine's own sources of this Debian release, as "URI SUITE COMPONENT" lines: whatever their format, and without the
# sources of others. Known once the lists have been fetched.
debian_sources() {
  local release; release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sed -n "s/^$release[a-z-]* //p" | sort -u
}

# private_apt ARGUMENT...: apt-get with the sources of Debian's source packages and of its arm64 packages, and with lists
# and a package database of its own, that open_private_apt makes.
apt_root=
trap '[ -z "$apt_root" ] || rm -rf "$apt_root"' EXIT
private_apt() {
  local options=(-o "Dir::Etc::sourcelist=$apt_root/sources.list" -o "Dir::Etc::sourceparts=-"
                 -o "Dir::State::lists=$apt_root/lists" -o "Dir::State::status=$apt_root/status"
                 -o "Dir::Cache=$apt_root/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
  [ "$arch" != arm64 ] || options+=(-o APT::Architecture=arm64)
  apt-get -qq "${options[@]}" "$@" >/dev/null
}
open_private_apt() {
  [ -z "$apt_root" ] || return 0
  [ -n "$(debian_sources)" ] || refresh
  apt_root=$(mktemp -d)
  mkdir -p "$apt_root"/{lists,cache/archives}/partial
  : >"$apt_root/status"
  debian_sources | sed 's/^/deb-src /' >"$apt_root/sources.list"
  [ "$arch" != arm64 ] || debian_sources | sed 's/^/deb [arch=arm64] /' >>"$apt_root/sources.list"
  private_apt update
}

# fetch_source PACKAGE DIR: the package's source as Debian ships it, patches applied, into DIR.
fetch_source() { (cd "$2" && private_apt source "$1"); }

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
  "${cc[@]}" $flags -fvisibility=default -c src/civetweb.c -o civetweb.o
  "$ar" rcs libcivetweb.a civetweb.o
  install -D -m 644 libcivetweb.a "$deps/lib/libcivetweb.a"
  install -D -m 644 include/civetweb.h "$deps/include/civetweb.h"
  cd - >/dev/null; rm -rf "$work"
}

build_curl() {
  local work; work=$(mktemp -d)
  fetch_source curl "$work"
  cd "$work"/curl-*/
  cmake -S . -B out -G Ninja "${toolchain[@]}" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DBUILD_CURL_EXE=OFF \
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
[ "$arch" = arm64 ] || [ -x "$deps/kubectl-1.20/kubectl" ] || fetch_old_kubectl

# What the compiler links for arm64, unpacked beside the machine's own, and the emulator that can run it.
sysroot_packages=(
  libc6 libc6-dev linux-libc-dev libcrypt-dev libgcc-s1
  libsqlite3-dev libnl-3-dev libnl-route-3-dev libssl-dev zlib1g-dev libyaml-cpp-dev libldns-dev libnghttp2-dev
  nlohmann-json3-dev libspdlog-dev libspdlog1.10 libfmt-dev libfmt9 libyaml-cpp0.7 libcli11-dev
)
fill_sysroot() {
  local work package; work=$(mktemp -d)
  rm -rf "$deps/sysroot" "$deps/bin"
  mkdir -p "$deps/sysroot" "$deps/bin" "$work/emulator"
  (cd "$work" && private_apt download "${sysroot_packages[@]}")
  for package in "$work"/*.deb; do dpkg -x "$package" "$deps/sysroot"; done
  refresh
  (cd "$work/emulator" && apt-get download -qq -o APT::Sandbox::User=root qemu-user-static >/dev/null)
  dpkg --fsys-tarfile "$work"/emulator/*.deb | tar -x -C "$deps/bin" --strip-components=3 ./usr/bin/qemu-aarch64-static
  rm -rf "$work"
  echo "${sysroot_packages[*]}" >"$deps/sysroot.packages"
}
if [ "$arch" = arm64 ] && [ "$(cat "$deps/sysroot.packages" 2>/dev/null)" != "${sysroot_packages[*]}" ]; then
  echo "setup: unpacking the arm64 libraries (once)"
  open_private_apt
  fill_sysroot
fi

stamp=$deps/stamp-3
if [ ! -e "$stamp" ]; then
  echo "setup: building civetweb and libcurl${arch:+ for $arch} from Debian's sources (once)"
  mkdir -p "$deps"
  open_private_apt
  build_civetweb
  [ -e "$deps/lib/libcurl.a" ] || build_curl
  touch "$stamp"
fi
echo "setup: ${arch:+$arch }ready"
