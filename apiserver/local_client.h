// LocalClient: the Client of in-process callers, straight onto the Registry, with the checks HTTP
// makes.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>

#include "registry.h"

namespace coracle {

class LocalClient : public Client {
 public:
  LocalClient(Registry& registry, const Clock&) : registry_(registry) {}

  Result<Object> get(const Resource& resource, const ObjectKey& key) override;
  Result<ObjectList> list(const Resource& resource, const ListOptions& options) override;
  Result<std::unique_ptr<ClientWatch>> watch(const Resource& resource, const ListOptions& options,
                                             Revision from) override;
  Result<Object> create(const Resource& resource, const Object& object) override;
  // Subresources: "", "status", and for Namespaces "finalize". create on Pods with kind Binding
  // binds.
  Result<Object> update(const Resource& resource, const Object& object,
                        const std::string& subresource) override;
  Result<Object> patch(const Resource& resource, const ObjectKey& key, PatchType type,
                       const Json& patch, const std::string& subresource) override;
  Result<void> remove(const Resource& resource, const ObjectKey& key,
                      const DeleteOptions& options) override;

 private:
  Result<const ResourceKind*> kind_of(const Resource& resource) const;

  Registry& registry_;
};

}  // namespace coracle
