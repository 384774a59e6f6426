// The Services of the cluster with their EndpointSlices, as this node knows them: one cache, of
// which the Service rules and the DNS are made. Kept on disk, so that a node that boots while the
// server is away begins with what it knew. Thread-safe.
#pragma once

#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>
#include <coracle/client.h>
#include <coracle/informer.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

class ServiceCache {
 public:
  using Slices = std::vector<std::shared_ptr<const EndpointSlice>>;

  // `kept_dir`: where both are kept; "": nowhere.
  ServiceCache(Client& client, const std::string& kept_dir);
  // Called with the key of a Service when it or a slice of it has changed, from a thread of ours:
  // must return quickly. REQUIRES: before start()
  void on_change(const std::function<void(const ObjectKey& service)>& f);
  // Called when the server has told of all Services, and of all slices. REQUIRES: before start()
  void on_synced(const std::function<void()>& f);
  void start();
  void stop();

  bool filled() const { return services_.filled() && slices_.filled(); }
  bool synced() const { return services_.synced() && slices_.synced(); }
  // True once the server has told, or all that was kept is in; false at the deadline.
  bool wait_filled(std::chrono::steady_clock::time_point deadline) const;

  std::vector<std::shared_ptr<const Service>> services() const { return services_.list(); }
  Slices slices() const { return slices_.list(); }
  std::shared_ptr<const Service> service(const ObjectKey& key) const { return services_.get(key); }
  Slices slices_of(const ObjectKey& service) const;
  // Nothing while they are not known; slices may still be missing.
  std::optional<std::vector<std::shared_ptr<const Service>>> known_services() const;

 private:
  Informer<Service> services_;
  Informer<EndpointSlice> slices_;
};

}  // namespace coracle
