#!/usr/bin/env bash
# One command to a lab: sets up, builds, starts a cluster of network namespaces on this machine, applies the examples.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build.sh release coracle
coracle=build/release/coracle
"$coracle" lab up --nodes "${NODES:-3}"
export KUBECONFIG
KUBECONFIG=$("$coracle" lab kubeconfig)
kubectl apply -f manifests/examples
kubectl wait --for=condition=Ready pod -l 'app in (backend,frontend)' --timeout=60s
kubectl get pods,services,endpoints
url=$("$coracle" lab url frontend)
pod=$(kubectl get pods -l app=frontend -o jsonpath='{.items[0].spec.nodeName} --pod default/{.items[0].metadata.name}')
cat <<EOF

The lab runs. Try:
  export KUBECONFIG=\$($coracle lab kubeconfig)
  kubectl get pods,services,endpoints
  curl $url/                 # answers come from the frontend Pods in turn
  $coracle lab exec $pod -- curl -s http://backend:5000/     # by name; in full: backend.default.svc.cluster.local
  kubectl delete pod backend-1 && kubectl get endpoints backend
  $coracle lab exec lab-node-1 -- iptables -t nat -S KUBE-SERVICES
  $coracle lab cut lab-node-3 && kubectl get nodes -w      # and heal; move, flush, power-cut
  $coracle lab down          # leaves nothing behind
EOF
