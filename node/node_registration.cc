#include "node_registration.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace coracle {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 10s;   // for what an earlier agent left running
constexpr int kLeaseSeconds = 8;  // until the server has written another duration there
constexpr int kMostAttempts = 5;  // others write the same objects, seldom
constexpr const char* kLeaseNamespace = "kube-node-lease";
constexpr SyncLoopOptions kNodeLoop{.min_interval = 20ms,
                                    .full_interval = 300s,
                                    .retry_min = 100ms,
                                    .retry_max = 5s,
                                    .probe_interval = 0ms};
constexpr SyncLoopOptions kLeaseLoop{.min_interval = 250ms,
                                     .full_interval = 1s,
                                     .retry_min = 250ms,
                                     .retry_max = 1s,
                                     .probe_interval = 0ms};

// The labels by which a node is known are put back, others are left as they are.
bool add_labels(Object& node, const Object& wanted) {
  bool changed = false;
  for (const auto& [key, value] : wanted.meta().labels) {
    Json& labels = node.json()["metadata"]["labels"];
    if (labels.is_object() && labels.contains(key)) continue;
    labels[key] = value;
    changed = true;
  }
  return changed;
}

bool is_ready(const Json& node) {
  const Json* conditions = json_find(node, {"status", "conditions"});
  return conditions != nullptr && conditions->is_array() &&
         std::any_of(conditions->begin(), conditions->end(), [](const Json& c) {
           return json_string(c, {"type"}) == "Ready" && json_string(c, {"status"}) == "True";
         });
}

}  // namespace

NodeRegistration::NodeRegistration(Client& client, const Clock& clock, NodeFacts facts,
                                   EventRecorder& events, std::function<void()> on_change)
    : client_(client),
      clock_(clock),
      facts_(std::move(facts)),
      events_(events),
      informer_(client, resources::kNodes, {.field_selector = "metadata.name=" + facts_.name}),
      ip_(facts_.ip),
      condition_{false, "NetworkNotReady", "the node agent is starting", ""},
      node_loop_("node-status", clock, kNodeLoop, [this](bool) { return sync_node(); }),
      lease_loop_("node-lease", clock, kLeaseLoop, [this](bool) { return renew_lease(); }) {
  informer_.on_change([this, on_change = std::move(on_change)](const ObjectKey&) {
    node_loop_.mark_dirty();
    on_change();
  });
}

NodeRegistration::~NodeRegistration() {
  stop();
}

void NodeRegistration::start() {
  patience_end_ = clock_.steady_now() + kPatience;
  node_loop_.mark_dirty();
  informer_.start();
  node_loop_.start();
  lease_loop_.start();
}

void NodeRegistration::stop() {
  node_loop_.stop();
  lease_loop_.stop();
  informer_.stop();
  const MutexLock lock(mutex_);
  changed_.notify_all();
}

void NodeRegistration::set_condition(bool ready, const std::string& reason,
                                     const std::string& message) {
  {
    const MutexLock lock(mutex_);
    const bool same =
        condition_.ready == ready && condition_.reason == reason && condition_.message == message;
    if (same && (!kept_ || clock_.steady_now() < patience_end_)) return;
    condition_ = {ready, reason, message, "", std::move(condition_.peers)};
  }
  node_loop_.mark_dirty();
}

void NodeRegistration::set_peers(PeerReport report) {
  {
    const MutexLock lock(mutex_);
    if (condition_.peers == report) return;
    condition_.peers = std::move(report);
  }
  node_loop_.mark_dirty();
}

void NodeRegistration::set_ip(const Ip& ip) {
  {
    const MutexLock lock(mutex_);
    if (std::exchange(ip_, ip) == ip) return;
  }
  node_loop_.mark_dirty();
}

std::optional<Cidr> NodeRegistration::pod_cidr() const {
  const auto node = informer_.get({"", facts_.name});
  if (!node) return std::nullopt;
  const auto cidr = Cidr::parse(node->pod_cidr);
  return cidr ? std::optional(*cidr) : std::nullopt;
}

bool NodeRegistration::wait_ready(std::chrono::steady_clock::time_point deadline) const {
  const MutexLock lock(mutex_);
  while (!told_ready_)
    if (!changed_.wait_until(mutex_, deadline)) return told_ready_;
  return true;
}

Result<void> NodeRegistration::sync_node() {
  // Only with the watch in place a deletion from now on is seen.
  if (!informer_.wait_synced(std::chrono::steady_clock::now() + 500ms))
    return Error{Code::Unavailable, "registering the node: waiting for the server"};
  NodeCondition condition;
  NodeFacts facts = facts_;
  bool keep = clock_.steady_now() < patience_end_;
  {
    const MutexLock lock(mutex_);
    condition = condition_;
    facts.ip = ip_;
    ever_ready_ = ever_ready_ || condition.ready;
    keep = keep && !ever_ready_;
  }
  condition.now = format_time(clock_.now());
  // Others write it, too: taints, the Pod CIDR, what a person changes.
  Result<bool> kept = write_node(facts, condition, keep);
  for (int i = 1; i < kMostAttempts && !kept && is_conflict(kept.error()); ++i)
    kept = write_node(facts, condition, keep);
  if (!kept) return kept.error();
  const MutexLock lock(mutex_);
  told_ready_ = condition.ready;
  kept_ = *kept;
  if (!std::exchange(registered_, true)) lease_loop_.mark_dirty();
  changed_.notify_all();
  return {};
}

Result<bool> NodeRegistration::write_node(const NodeFacts& facts, const NodeCondition& condition,
                                          bool keep) {
  const Object wanted = compute_node(facts);
  auto node = client_.get(resources::kNodes, {"", facts.name});
  if (!node && is_not_found(node.error())) node = client_.create(resources::kNodes, wanted);
  if (!node) return node.error().context("registering the node " + facts.name);
  const bool labelled = add_labels(*node, wanted);
  if (annotate_peers(node->json(), condition.peers) || labelled)
    node = TRY(client_.update(resources::kNodes, *node, ""));
  Json status = node->json().value("status", Json::object());
  Json ours = compute_node_status(facts, condition, node->json());
  keep = keep && ready_since_boot(node->json(), facts.boot_id);
  if (keep) ours.erase("conditions");
  status.update(ours);
  if (status != node->json().value("status", Json::object())) {
    const bool was_ready = is_ready(node->json());
    node->json()["status"] = std::move(status);
    const Object now = TRY(client_.update(resources::kNodes, *node, "status"));
    if (is_ready(now.json()) != was_ready) tell(!was_ready);
  }
  return keep;
}

// As the kubelet does: about the node by its name, before which a Node of that name may have gone.
void NodeRegistration::tell(bool ready) {
  const std::string reason = ready ? "NodeReady" : "NodeNotReady";
  events_.normal({"v1", "Node", "", facts_.name, facts_.name, ""}, reason,
                 "Node " + facts_.name + " status is now: " + reason);
}

Object NodeRegistration::lease_object(const Object& node) const {
  const std::string now = format_micro_time(clock_.now());
  return Object(Json{{"apiVersion", "coordination.k8s.io/v1"},
                     {"kind", "Lease"},
                     {"metadata",
                      {{"name", facts_.name},
                       {"namespace", kLeaseNamespace},
                       {"ownerReferences", Json::array({{{"apiVersion", "v1"},
                                                         {"kind", "Node"},
                                                         {"name", facts_.name},
                                                         {"uid", node.uid()}}})}}},
                     {"spec",
                      {{"holderIdentity", facts_.name},
                       {"leaseDurationSeconds", kLeaseSeconds},
                       {"renewTime", now}}}});
}

Result<void> NodeRegistration::renew_lease() {
  if (lease_) {
    const auto duration = std::chrono::milliseconds(
        1000 * json_int(lease_->json(), {"spec", "leaseDurationSeconds"}, kLeaseSeconds));
    if (clock_.steady_now() - renewed_at_ < duration / 4 - kLeaseLoop.min_interval) return {};
  }
  Result<void> written = write_lease();
  for (int i = 1; i < kMostAttempts && !written && is_conflict(written.error()); ++i)
    written = write_lease();
  if (written) renewed_at_ = clock_.steady_now();
  return written;
}

Result<void> NodeRegistration::write_lease() {
  const ObjectKey key{kLeaseNamespace, facts_.name};
  if (!lease_) {
    auto found = client_.get(resources::kLeases, key);
    if (!found && is_not_found(found.error())) {
      const auto node = client_.get(resources::kNodes, {"", facts_.name});
      // Made with its owner, or not yet: else it would outlive the Node.
      if (!node) return node.error().context("making the lease");
      found = client_.create(resources::kLeases, lease_object(*node));
    }
    if (!found) return found.error();
    lease_ = std::move(*found);
  }
  Object next = *std::exchange(lease_, std::nullopt);
  next.json()["spec"]["holderIdentity"] = facts_.name;
  if (json_int(next.json(), {"spec", "leaseDurationSeconds"}) <= 0)
    next.json()["spec"]["leaseDurationSeconds"] = kLeaseSeconds;
  next.json()["spec"]["renewTime"] = format_micro_time(clock_.now());
  auto renewed = client_.update(resources::kLeases, next, "");
  if (!renewed) return renewed.error();  // the next try looks at it anew
  lease_ = std::move(*renewed);
  return {};
}

}  // namespace coracle
