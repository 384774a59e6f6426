// Empties Namespaces that are being deleted, then lets them go.
#pragma once

#include <coracle/informer.h>

#include "controller.h"
#include "metadata.h"

namespace coracle {

// Key: the Namespace's. Content that takes its time (Pods ending, finalizers) is looked at again
// until it is gone.
class NamespaceController : public Reconciler {
 public:
  NamespaceController(Client& client, const Informer<Metadata>& namespaces)
      : client_(client), namespaces_(namespaces) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  // How many objects are left.
  Result<std::size_t> empty(const std::string& ns, const Resource& resource);
  Result<void> finalize(const std::string& name);

  Client& client_;
  const Informer<Metadata>& namespaces_;
};

// Every namespaced kind.
const std::vector<Resource>& namespaced_resources();

}  // namespace coracle
