#!/usr/bin/env bash
# Names the dependency rule that an #include breaks. The rules are the design's dependency table.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
rule() {  # rule FOLDER EXCLUDED-SUBFOLDERS FORBIDDEN-REGEX SENTENCE
  local hits
  hits=$(git ls-files -co --exclude-standard "$1" | grep -E '\.(cc|h)$' | grep -vE "$2" |
    xargs -r grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($3)" 2>/dev/null)
  [ -z "$hits" ] && return
  bad=1
  printf 'layers: %s\n%s\n' "$4" "$hits" >&2
}
none='^$'
rule include "$none" '(store|apiserver|controllers|node)/' "include/ depends on nothing but std and json_fwd"
rule include "$none" 'nlohmann/json\.hpp|spdlog|sqlite3|civetweb|netlink' "include/ uses json_fwd.hpp and no library"
rule store "$none" '(apiserver|controllers|node)/|coracle/(api|client|informer|labels)' "store knows nothing of Kubernetes"
rule apiserver '^apiserver/(cmd|client|api)/' '(store|controllers|node)/' "apiserver sees include/coracle/store.h, never store/"
rule apiserver/tunnel "$none" '(store|controllers|node|client|api)/|openssl/|http_' "the tunnel knows byte streams, and no API"
rule . '^apiserver/tunnel/|^test/' 'nghttp2/' "only apiserver/tunnel uses nghttp2"
rule apiserver/client "$none" '(store|controllers|node)/|civetweb' "the client library links only coracle_api"
rule controllers "$none" '(store|apiserver|node)/|coracle/store' "controllers know the API only as Client and Informer"
rule node "$none" '(store|apiserver|controllers)/|coracle/store' "node knows the API only as Client and Informer"
rule . '^store/sqlite|^test/' 'sqlite3' "only store/sqlite* uses sqlite3"
rule . '^apiserver/http_server|^test/' 'civetweb' "only apiserver/http_server uses civetweb"
rule . '^node/netlink/|^test/' 'netlink/(netlink|msg|attr|socket|errno|cache|object|addr|handlers|route/|genl/)' "only node/netlink uses libnl"
rule . '^node/dns/message|^test/' 'ldns/' "only node/dns/message uses ldns"
rule . '^apiserver/client/|^node/pods/net_probe|^test/' 'curl/' "only apiserver/client and node/pods/net_probe use libcurl"
for f in $(git ls-files -co --exclude-standard '*.h'); do
  grep -q '^#pragma once' "$f" || { echo "layers: $f lacks #pragma once" >&2; bad=1; }
done
extra=$(git ls-files | cut -d/ -f1 | sort -u | grep -vxE 'CMakeLists.txt|apiserver|controllers|node|store|include|manifests|test|scripts|README.md|LICENSE|\..*')
[ -z "$extra" ] || { echo "layers: not part of the top level: $extra" >&2; bad=1; }
exit $bad
