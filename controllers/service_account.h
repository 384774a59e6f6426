// Keeps a ServiceAccount "default" in every namespace that lives.
#pragma once

#include <coracle/informer.h>

#include "controller.h"
#include "metadata.h"

namespace coracle {

// Key: the Namespace's.
class ServiceAccountController : public Reconciler {
 public:
  ServiceAccountController(Client& client, const Informer<Metadata>& namespaces,
                           const Informer<Metadata>& accounts)
      : client_(client), namespaces_(namespaces), accounts_(accounts) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Client& client_;
  const Informer<Metadata>& namespaces_;
  const Informer<Metadata>& accounts_;
};

}  // namespace coracle
