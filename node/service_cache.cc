#include "service_cache.h"

namespace coracle {
namespace {

constexpr const char* kServiceNameLabel = "kubernetes.io/service-name";
constexpr const char* kByService = "service";

// An empty name: of no Service.
ObjectKey service_of(const EndpointSlice& slice) {
  const auto label = slice.meta.labels.find(kServiceNameLabel);
  return {slice.meta.ns, label == slice.meta.labels.end() ? "" : label->second};
}

}  // namespace

ServiceCache::ServiceCache(Client& client, const std::string& kept_dir)
    : services_(client, resources::kServices), slices_(client, resources::kEndpointSlices) {
  slices_.add_index(kByService, [](const EndpointSlice& slice) -> std::vector<std::string> {
    const ObjectKey service = service_of(slice);
    if (service.name.empty()) return {};
    return {service.to_string()};
  });
  if (kept_dir.empty()) return;
  services_.keep(kept_dir + "/services");
  slices_.keep(kept_dir + "/endpointslices");
}

void ServiceCache::on_change(const std::function<void(const ObjectKey&)>& f) {
  services_.on_change(f);
  slices_.on_change_values([f](const ObjectKey&, const auto& old, const auto& now) {
    const ObjectKey before = old ? service_of(*old) : ObjectKey{};
    const ObjectKey after = now ? service_of(*now) : ObjectKey{};
    if (!before.name.empty() && before != after) f(before);
    if (!after.name.empty()) f(after);
  });
}

void ServiceCache::on_synced(const std::function<void()>& f) {
  services_.on_synced(f);
  slices_.on_synced(f);
}

void ServiceCache::start() {
  services_.start();
  slices_.start();
}

void ServiceCache::stop() {
  services_.stop();
  slices_.stop();
}

bool ServiceCache::wait_filled(std::chrono::steady_clock::time_point deadline) const {
  return services_.wait_filled(deadline) && slices_.wait_filled(deadline);
}

ServiceCache::Slices ServiceCache::slices_of(const ObjectKey& service) const {
  return slices_.by_index(kByService, service.to_string());
}

std::optional<std::vector<std::shared_ptr<const Service>>> ServiceCache::known_services() const {
  if (!services_.filled()) return std::nullopt;
  return services_.list();
}

}  // namespace coracle
