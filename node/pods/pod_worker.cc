#include "pods/pod_worker.h"

#include <coracle/log.h>
#include <coracle/metrics.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "pods/pod_etc.h"
#include "pods/pod_status.h"
#include "pods/unsupported.h"

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

metrics::Histogram container_starts("coracle_container_start_duration_seconds",
                                    "Time to start a container's process.", 0.001);

constexpr std::chrono::seconds kLongestRetry = 10s;
constexpr std::chrono::seconds kConfigRetry = 10s;
constexpr std::chrono::seconds kLongestStartRetry = 300s;

std::chrono::seconds doubled(std::chrono::seconds first, int times, std::chrono::seconds longest) {
  return std::min(first * (1 << std::min(times, 16)), longest);
}

std::string read_text(const char* path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The image that has no entry point of its own.
bool needs_command(const std::string& image) {
  return image == "coracle/host" || image.starts_with("coracle/host:");
}

bool is_away(const Error& error) {
  return error.code == Code::Unavailable || error.code == Code::Timeout;
}

std::string full_name(const NodePod& pod) {
  return pod.pod.meta.name + "_" + pod.pod.meta.ns + "(" + pod.pod.meta.uid + ")";
}

}  // namespace

std::vector<ContainerState> container_states(const PodView& view) {
  std::vector<ContainerState> out;
  for (const PodContainer& c : view.pod.containers)
    if (auto state = view.state(c.spec.name)) out.push_back(std::move(*state));
  return out;
}

PodWorker::PodWorker(Client& client, const Clock& clock, Runtime& runtime, PodConnector network,
                     EventRecorder& events, PodWorkerOptions options)
    : client_(client),
      clock_(clock),
      runtime_(runtime),
      network_(std::move(network)),
      events_(events),
      options_(std::move(options)),
      volumes_(client, clock, runtime, events, options_.node_name) {}

void PodWorker::set_node_ip(const Ip& ip) {
  const MutexLock lock(mutex_);
  node_ip_ = ip;
}

Ip PodWorker::node_ip() const {
  const MutexLock lock(mutex_);
  return node_ip_;
}

bool PodWorker::apply(const PodView& view, PodMemory& memory, const PodAction& action) {
  const auto done = std::visit([&](const auto& a) { return run(view, memory, a); }, action);
  if (done) {
    if (memory.failures > 0 && !std::holds_alternative<StartContainer>(action)) {
      memory.failures = 0;
      memory.retry_at.reset();
    }
    return true;
  }
  const auto delay = doubled(1s, memory.failures, kLongestRetry);
  ++memory.failures;
  memory.retry_at = clock_.steady_now() + delay;
  log::warn("pods", "a step failed, trying again",
            {{"pod", view.pod.pod.meta.key().to_string()},
             {"error", done.error().message},
             {"seconds", delay.count()}});
  return false;
}

Result<void> PodWorker::remove(const std::string& pod_uid) {
  // The processes first: nothing may use an address that others can get.
  TRY(runtime_.remove_sandbox(pod_uid));
  hooks_.forget(pod_uid);
  return disconnect(pod_uid);
}

// Its address is told first: it may be another Pod's at once.
Result<void> PodWorker::disconnect(const std::string& pod_uid) {
  if (options_.on_pod_ip) options_.on_pod_ip(pod_uid, "", std::nullopt);
  return network_.del(pod_uid);
}

void PodWorker::announce(const NodePod& pod) {
  for (const std::string& field : unsupported_fields(pod))
    events_.warning(reference_of(pod), "Unsupported",
                    field + " is not supported by the runtime \"process\" and has no effect");
  for (const std::string& resource : limited_resources(pod))
    if (const std::string why = runtime_.limit_problem(resource); !why.empty())
      events_.warning(reference_of(pod), "LimitsNotEnforced",
                      std::string("limits of ")
                          .append(resource)
                          .append(" are not enforced on this node: ")
                          .append(why));
}

void PodWorker::announce_backoff(const NodePod& pod, const std::string& container) {
  events_.warning(
      reference_of(pod, pod.find(container)), "BackOff",
      "Back-off restarting failed container " + container + " in pod " + full_name(pod));
}

void PodWorker::announce_probe(const NodePod& pod, const std::string& container,
                               const std::string& message) {
  events_.warning(reference_of(pod, pod.find(container)), "Unhealthy", message);
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const CreateSandbox&) {
  const Pod& pod = view.pod.pod;
  memory.connected = false;
  std::vector<Volume> volumes;
  for (PodVolume& v : volumes_of(view.pod)) volumes.push_back(std::move(v.volume));
  const auto make = [&]() -> Result<void> {
    return runtime_.create_sandbox({.pod_uid = pod.meta.uid,
                                    .ns = pod.meta.ns,
                                    .name = pod.meta.name,
                                    .hostname = TRY(compute_kernel_hostname(
                                        view.pod, options_.node_name, options_.cluster_domain)),
                                    .host_network = pod.host_network,
                                    .volumes = std::move(volumes),
                                    .share_processes = shares_processes(view.pod)});
  };
  auto made = make();
  if (!made)
    events_.warning(reference_of(view.pod), "FailedCreatePodSandBox",
                    "Failed to create pod sandbox: " + made.error().message);
  return made;
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const ReplaceSandbox&) {
  events_.normal(reference_of(view.pod), "SandboxChanged",
                 "Pod sandbox changed, it will be killed and re-created.");
  std::vector<ContainerState> ended = container_states(view);
  for (const ContainerState& state : ended)
    memory.containers[state.name].last_terminated = Object(terminated_state(state));
  TRY(runtime_.reset_sandbox(view.pod.pod.meta.uid));
  memory.last_containers = std::move(ended);
  memory.connected = false;
  memory.volumes = {};
  return {};
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const ConnectNetwork&) {
  const Pod& pod = view.pod.pod;
  const auto connect = [&]() -> Result<Ip> {
    if (pod.host_network) return node_ip();
    const NetNs netns = TRY(runtime_.network_namespace(pod.meta.uid));
    return network_.add(pod.meta.uid, netns);
  };
  const auto ip = connect();
  if (!ip) {
    events_.warning(reference_of(view.pod), "FailedCreatePodSandBox",
                    "Failed to create pod sandbox: " + ip.error().message);
    return ip.error();
  }
  const std::string hosts =
      compute_hosts(view.pod, *ip, options_.cluster_domain,
                    pod.host_network ? read_text("/etc/hosts") : std::string());
  const ResolvConf resolv =
      compute_resolv_conf(view.pod, {options_.cluster_domain, options_.cluster_dns},
                          read_resolv_conf(options_.resolv_conf));
  // Before its first question.
  if (options_.on_pod_ip && !pod.host_network) options_.on_pod_ip(pod.meta.uid, pod.meta.ns, *ip);
  TRY(runtime_.write_etc(pod.meta.uid, hosts, to_string(resolv)));
  memory.ip = *ip;
  memory.connected = true;
  return {};
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const DisconnectNetwork&) {
  if (!view.pod.pod.host_network) TRY(disconnect(view.pod.pod.meta.uid));
  memory.connected = false;
  return {};
}

void PodWorker::fail_start(const NodePod& pod, const PodContainer& container,
                           ContainerMemory& memory, StartFailure failure) {
  if (memory.failure && memory.failure->reason == failure.reason)
    failure.count = memory.failure->count + 1;
  failure.image = container.spec.image;
  const Time now = clock_.steady_now();
  if (failure.reason == "CreateContainerConfigError") failure.retry_at = now + kConfigRetry;
  if (failure.reason == "RunContainerError")
    failure.retry_at = now + doubled(kConfigRetry, failure.count - 1, kLongestStartRetry);
  events_.warning(reference_of(pod, &container), "Failed", "Error: " + failure.message);
  memory.failure = std::move(failure);
}

// A container that cannot start is its own matter: the others go on, so this is no error.
Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const StartContainer& action) {
  const PodContainer* container = view.pod.find(action.container);
  if (container == nullptr) return {};
  ContainerMemory& own = memory.containers[action.container];
  if (!ensure_image(view.pod, *container, own)) return {};
  auto spec = container_spec(view.pod, *container, memory.ip.value_or(node_ip()));
  if (!spec) {
    fail_start(view.pod, *container, own,
               {"CreateContainerConfigError", spec.error().message, "", {}});
    return {};
  }
  if (needs_command(spec->image) && spec->command.empty() && spec->args.empty()) {
    fail_start(view.pod, *container, own,
               {"CreateContainerError",
                "no command specified: the image coracle/host has no entry point",
                "",
                {}});
    return {};
  }
  spec->restart_count = own.restarts + 1;
  const auto before = view.state(action.container);
  const auto begin = std::chrono::steady_clock::now();
  const auto state = runtime_.start_container(view.pod.pod.meta.uid, *spec);
  container_starts.observe_since(begin, {{"result", state ? "success" : "error"}});
  if (!state) {
    fail_start(view.pod, *container, own, {"RunContainerError", state.error().message, "", {}});
    return {};
  }
  if (before) {
    own.last_terminated = Object(terminated_state(*before));
    own.backoff = next_backoff(own.backoff, own.exited_at, clock_.steady_now());
  }
  own.restarts = spec->restart_count;
  own.failure.reset();
  own.kill.reset();
  own.post_start.reset();
  own.pre_stop.reset();
  started(view.pod, *container, *state);
  return {};
}

void PodWorker::started(const NodePod& pod, const PodContainer& container,
                        const ContainerState& state) {
  const ObjectReference about = reference_of(pod, &container);
  const std::string& name = container.spec.name;
  events_.normal(about, "Pulled",
                 "Container image \"" + container.spec.image + "\" already present on machine");
  events_.normal(about, "Created", "Created container: " + name);
  if (state.message.empty()) {
    events_.normal(about, "Started", "Started container " + name);
  } else {
    events_.warning(about, "Failed", "Error: " + state.message);
  }
}

// A container that ends while the API is away is started again nevertheless.
Result<std::vector<Service>> PodWorker::visible_services(const NodePod& pod) {
  const auto known = [&] {
    return options_.known_services ? options_.known_services() : std::nullopt;
  };
  if (!told_) {
    if (const KnownServices services = known()) return services_for(pod, *services);
  }
  auto asked = ask_services(pod);
  if (asked || !is_away(asked.error())) return asked;
  const KnownServices services = known();
  return services ? services_for(pod, *services) : asked;
}

Result<std::vector<Service>> PodWorker::ask_services(const NodePod& pod) {
  std::vector<std::shared_ptr<const Service>> all;
  const auto add = [&](const Object& object) -> Result<void> {
    all.push_back(std::make_shared<const Service>(TRY(Service::decode(object))));
    return {};
  };
  const bool links = wants_links(pod);
  if (links) {
    const ObjectList own = TRY(client_.list(resources::kServices, {.ns = pod.pod.meta.ns}));
    for (const Object& object : own.items) TRY(add(object));
  }
  if (!links || pod.pod.meta.ns != kServerNamespace) {
    const auto server = client_.get(resources::kServices, {kServerNamespace, kServerService});
    if (server) TRY(add(*server));
    if (!server && !is_not_found(server.error())) return server.error();
  }
  return services_for(pod, all);
}

Result<ContainerSpec> PodWorker::container_spec(const NodePod& pod, const PodContainer& container,
                                                const Ip& ip) {
  EnvSources sources;
  sources.fields = {ip, node_ip()};
  sources.node_name = options_.node_name;
  sources.cluster_domain = options_.cluster_domain;
  sources.services = service_variables(TRY(visible_services(pod)));
  sources.fetch = [&](const Resource& resource, const std::string& name) {
    return client_.get(resource, {pod.pod.meta.ns, name});
  };
  sources.users = {read_text("/etc/passwd"), read_text("/etc/group")};
  sources.memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  sources.allocatable = [&]() -> Result<Allocatable> {
    const Object node = TRY(client_.get(resources::kNodes, {"", options_.node_name}));
    return json_string_map(node.json(), {"status", "allocatable"});
  };
  return compute_container(pod, container, sources);
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const RemoveSandbox&) {
  std::vector<ContainerState> ended = container_states(view);
  TRY(runtime_.remove_sandbox(view.pod.pod.meta.uid));
  memory.last_containers = std::move(ended);
  memory.connected = false;
  return {};
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const Finish&) {
  const Meta& meta = view.pod.pod.meta;
  TRY(runtime_.remove_sandbox(meta.uid));  // volumes may be there without it
  if (!view.pod.pod.host_network) TRY(disconnect(meta.uid));
  const auto written = TRY(write_status(view));
  memory.finished = true;
  if (!written) return {};
  const auto removed =
      client_.remove(resources::kPods, meta.key(), {.grace_period_seconds = 0, .uid = meta.uid});
  // A conflict is about the uid: this Pod is gone and has a successor.
  if (removed || is_not_found(removed.error()) || is_conflict(removed.error())) return {};
  memory.finished = false;
  return removed.error();
}

Json PodWorker::status_of(const PodView& view) const {
  return compute_pod_status(view, {node_ip(), format_time(clock_.now())});
}

Result<std::shared_ptr<const NodePod>> PodWorker::write_status(const PodView& view) {
  using Written = std::shared_ptr<const NodePod>;
  auto base = std::make_shared<const NodePod>(view.pod);
  for (int attempt = 0; attempt < 5; ++attempt) {
    const PodView fresh{*base, view.sandbox, view.probes, view.memory, view.now};
    Json status = status_of(fresh);
    if (status == base->status()) return base;
    Object next = base->object;
    next.json()["status"] = std::move(status);
    auto written = client_.update(resources::kPods, next, "status");
    if (!written && is_conflict(written.error()))
      written = client_.get(resources::kPods, base->pod.meta.key());
    else if (written)
      return std::make_shared<const NodePod>(TRY(NodePod::decode(*written)));
    if (!written && is_not_found(written.error())) return Written();
    if (!written) return written.error();
    if (written->uid() != view.pod.pod.meta.uid) return Written();
    base = std::make_shared<const NodePod>(TRY(NodePod::decode(*written)));
  }
  return Error{Code::Conflict, "the Pod's status is written by others all the time"};
}

}  // namespace coracle::pods
