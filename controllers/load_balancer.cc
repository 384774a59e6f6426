#include "load_balancer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

namespace coracle {
namespace {

std::string port_key(const std::string& protocol, std::int64_t port) {
  return protocol + "/" + std::to_string(port);
}

bool older(const Service& a, const Service& b) {
  return std::tie(a.meta.creation_timestamp, a.meta.ns, a.meta.name) <
         std::tie(b.meta.creation_timestamp, b.meta.ns, b.meta.name);
}

// What holds the port before `service`, "" when nothing does.
std::string holder(const Service& service, const ServicePort& port,
                   const std::vector<ServicePtr>& all, const std::set<std::string>& taken) {
  if (taken.contains(port_key(port.protocol, port.port))) return "the node itself";
  for (const ServicePtr& other : all) {
    if (other->meta.uid == service.meta.uid) continue;
    for (const ServicePort& theirs : other->ports) {
      if (theirs.protocol != port.protocol) continue;
      if (theirs.node_port == port.port)
        return "the node port of Service " + other->meta.key().to_string();
      if (other->type != "LoadBalancer" || theirs.port != port.port) continue;
      // Who has it keeps it; among those that wait, the oldest gets it.
      const bool theirs_now = !other->load_balancer_ips.empty();
      const bool ours_now = !service.load_balancer_ips.empty();
      if (theirs_now != ours_now ? theirs_now : older(*other, service))
        return "Service " + other->meta.key().to_string();
    }
  }
  return "";
}

}  // namespace

LoadBalancerStatus compute_load_balancer(const Service& service, const std::vector<ServicePtr>& all,
                                         const std::vector<std::shared_ptr<const Node>>& nodes,
                                         const std::set<std::string>& taken) {
  LoadBalancerStatus out;
  if (service.type != "LoadBalancer" || service.meta.deleting()) return out;
  for (const ServicePort& port : service.ports) {
    const std::string by = holder(service, port, all, taken);
    if (by.empty()) continue;
    out.problem = "port " + std::to_string(port.port) + " (" + port.protocol +
                  ") of the nodes is taken by " + by;
    return out;
  }
  for (const auto& node : nodes)
    if (node->ready)
      out.ips.insert(out.ips.end(), node->internal_ips.begin(), node->internal_ips.end());
  std::sort(out.ips.begin(), out.ips.end());
  return out;
}

Result<Again> LoadBalancerController::reconcile(const ObjectKey&) {
  std::vector<ServicePtr> all = services_.list();
  const auto nodes = nodes_.list();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const ServicePtr service = all[i];
    if (service->type != "LoadBalancer" && service->load_balancer_ips.empty()) continue;
    const LoadBalancerStatus status = compute_load_balancer(*service, all, nodes, taken_);
    TRY(write(*service, status));
    // The next ones see what this one has now, although the cache does not yet.
    auto now = std::make_shared<Service>(*service);
    now->load_balancer_ips = status.ips;
    all[i] = std::move(now);
  }
  std::erase_if(reported_, [&](const auto& r) {
    return std::none_of(all.begin(), all.end(),
                        [&](const ServicePtr& s) { return s->meta.uid == r.first; });
  });
  return Again{};
}

Result<void> LoadBalancerController::write(const Service& service,
                                           const LoadBalancerStatus& status) {
  std::string& reported = reported_[service.meta.uid];
  if (!status.problem.empty() && reported != status.problem)
    events_.warning({"v1", "Service", service.meta.ns, service.meta.name, service.meta.uid, ""},
                    "PortTaken", status.problem);
  reported = status.problem;
  std::vector<std::string> now = service.load_balancer_ips;
  std::sort(now.begin(), now.end());
  if (now == status.ips) return {};
  Json ingress = Json::array();
  for (const std::string& ip : status.ips) ingress.push_back({{"ip", ip}, {"ipMode", "VIP"}});
  Json patch = {{"status", {{"loadBalancer", {{"ingress", nullptr}}}}}};
  if (!ingress.empty()) patch["status"]["loadBalancer"]["ingress"] = std::move(ingress);
  const auto written = client_.patch(resources::kServices, service.meta.key(), PatchType::JsonMerge,
                                     patch, "status");
  if (!written && !is_not_found(written.error())) return written.error();
  return {};
}

}  // namespace coracle
