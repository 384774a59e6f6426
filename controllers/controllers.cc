// The list of controllers: what each watches, and how a change maps to keys.
#include <coracle/controllers.h>
#include <coracle/events.h>

#include <algorithm>

#include "endpoint_slice.h"
#include "endpoints.h"
#include "garbage_collector.h"
#include "load_balancer.h"
#include "namespace.h"
#include "node_ipam.h"
#include "node_lifecycle.h"
#include "pod_gc.h"
#include "scheduler.h"
#include "service_account.h"
#include "taint_eviction.h"
#include "workloads.h"

namespace coracle {
namespace {

using Deadline = std::chrono::steady_clock::time_point;

const ObjectKey kAll{"", "all"};  // of controllers that look at everything at once

// Every cache that controllers share, filled by one watch each.
struct Caches {
  explicit Caches(Client& client)
      : services(client, resources::kServices),
        pods(client, resources::kPods),
        nodes(client, resources::kNodes),
        endpoints(client, resources::kEndpoints),
        slices(client, resources::kEndpointSlices),
        leases(client, resources::kLeases),
        deployments(client, resources::kDeployments),
        sets(client, resources::kReplicaSets),
        daemons(client, resources::kDaemonSets),
        namespaces(client, resources::kNamespaces),
        accounts(client, resources::kServiceAccounts),
        config_maps(client, resources::kConfigMaps),
        secrets(client, resources::kSecrets),
        revisions(client, resources::kControllerRevisions) {
    const auto by_namespace = [](const auto& object) {
      return std::vector<std::string>{object.meta.ns};
    };
    pods.add_index("namespace", by_namespace);
    services.add_index("namespace", by_namespace);
    slices.add_index("service", [](const EndpointSlice& slice) {
      return std::vector<std::string>{slice.meta.ns + "/" + slice.service_name()};
    });
  }
  // What the garbage collector looks at: every kind that can own or be owned.
  void add_to(OwnerGraph& owners) {
    owners.add(resources::kNamespaces, namespaces);
    owners.add(resources::kNodes, nodes);
    owners.add(resources::kPods, pods);
    owners.add(resources::kServices, services);
    owners.add(resources::kEndpoints, endpoints);
    owners.add(resources::kEndpointSlices, slices);
    owners.add(resources::kConfigMaps, config_maps);
    owners.add(resources::kSecrets, secrets);
    owners.add(resources::kServiceAccounts, accounts);
    owners.add(resources::kLeases, leases);
    owners.add(resources::kDeployments, deployments);
    owners.add(resources::kReplicaSets, sets);
    owners.add(resources::kDaemonSets, daemons);
    owners.add(resources::kControllerRevisions, revisions);
  }
  void start() {
    each([](auto& cache) { cache.start(); });
  }
  void stop() {
    each([](auto& cache) { cache.stop(); });
  }
  bool wait_synced(Deadline deadline) {
    bool all = true;
    each([&](auto& cache) { all = all && cache.wait_synced(deadline); });
    return all;
  }

  Informer<Service> services;
  Informer<Pod> pods;
  Informer<Node> nodes;
  Informer<Endpoints> endpoints;
  Informer<EndpointSlice> slices;
  Informer<Lease> leases;
  Informer<Deployment> deployments;
  Informer<ReplicaSet> sets;
  Informer<DaemonSet> daemons;
  Informer<Metadata> namespaces, accounts, config_maps, secrets, revisions;

 private:
  template <typename F>
  void each(const F& f) {
    f(services);
    f(pods);
    f(nodes);
    f(endpoints);
    f(slices);
    f(leases);
    f(deployments);
    f(sets);
    f(daemons);
    f(namespaces);
    f(accounts);
    f(config_maps);
    f(secrets);
    f(revisions);
  }
};

class AllControllers : public Controllers {
 public:
  AllControllers(Client& client, const Clock& clock, const ControllersOptions& options)
      : caches_(client),
        scheduler_events_(client, clock, "default-scheduler", ""),
        events_(client, clock, "coracle-controllers", ""),
        endpoints_(client, caches_.services, caches_.pods, caches_.endpoints),
        slices_(client, caches_.services, caches_.pods, caches_.slices),
        mirroring_(client, caches_.services, caches_.endpoints, caches_.slices),
        load_balancers_(client, caches_.services, caches_.nodes, events_, options.taken_ports),
        node_ipam_(client, caches_.nodes, events_, options.pod_cidr, options.node_cidr_prefix),
        scheduler_(client, clock, caches_.pods, caches_.services, scheduler_events_),
        node_lifecycle_(client, clock, caches_.nodes, caches_.leases, caches_.pods, events_,
                        options.node_monitor_grace_period),
        taint_eviction_(client, clock, caches_.pods, caches_.nodes, events_,
                        options.node_monitor_grace_period),
        pod_gc_(client, clock, caches_.pods, caches_.nodes),
        collector_(client, owners_, events_),
        namespaces_(client, caches_.namespaces),
        accounts_(client, caches_.namespaces, caches_.accounts),
        workloads_(
            client, clock,
            {caches_.pods, caches_.nodes, caches_.deployments, caches_.sets, caches_.daemons},
            events_) {
    caches_.add_to(owners_);
    const auto synced = [this](Deadline deadline) { return caches_.wait_synced(deadline); };
    const auto add = [&](const char* name, Reconciler& reconciler) {
      controllers_.push_back(std::make_unique<Controller>(name, clock, reconciler, synced));
      return &controllers_.back()->queue();
    };
    watch_services(add("endpoints", endpoints_), add("endpointslice", slices_),
                   add("endpointslice-mirroring", mirroring_));
    watch_nodes(add("load-balancer", load_balancers_), add("node-ipam", node_ipam_));
    scheduler_.watch(caches_.pods, caches_.nodes, caches_.namespaces, add("scheduler", scheduler_));
    watch_pods(add("pod-gc", pod_gc_));
    watch_health(add("node-lifecycle", node_lifecycle_), add("taint-eviction", taint_eviction_));
    watch_namespaces(add("namespace", namespaces_), add("service-account", accounts_));
    workloads_.watch({add("deployment", workloads_.deployments()),
                      add("replicaset", workloads_.replica_sets()),
                      add("daemonset", workloads_.daemon_sets())});
    WorkQueue* garbage = add("garbage-collector", collector_);
    owners_.on_change([garbage](const ObjectKey& key) { garbage->add(key); });
  }
  ~AllControllers() override { halt(); }

  void start() override {
    caches_.start();
    for (const auto& controller : controllers_) controller->start();
  }
  void stop() override { halt(); }

 private:
  // A Service concerns itself; a Pod, the Services that select it or did; Endpoints and slices that
  // someone touched, the Service they belong to.
  void watch_services(WorkQueue* endpoints, WorkQueue* slices, WorkQueue* mirroring) {
    caches_.services.on_change([=](const ObjectKey& key) {
      endpoints->add(key);
      slices->add(key);
      mirroring->add(key);
    });
    caches_.pods.on_change_values([=, this](const ObjectKey&, const auto& old, const auto& now) {
      const auto& any = now != nullptr ? now : old;
      for (const auto& service : caches_.services.by_index("namespace", any->meta.ns)) {
        if (!(old != nullptr && selects(*service, *old)) &&
            !(now != nullptr && selects(*service, *now)))
          continue;
        endpoints->add(service->meta.key());
        slices->add(service->meta.key());
      }
    });
    caches_.endpoints.on_change([=, this](const ObjectKey& key) {
      mirroring->add(key);
      const auto changed = caches_.endpoints.get(key);
      // Endpoints that this controller made, whose Service went while it was away, go too.
      const bool ours =
          changed == nullptr || changed->meta.annotations.contains(kLastChangeAnnotation);
      if (caches_.services.get(key) != nullptr || ours) endpoints->add(key);
    });
    caches_.slices.on_change_values([=](const ObjectKey&, const auto& old, const auto& now) {
      const auto& any = now != nullptr ? now : old;
      const ObjectKey service{any->meta.ns, any->service_name()};
      if (service.name.empty()) return;
      slices->add(service);
      mirroring->add(service);
    });
  }

  void watch_nodes(WorkQueue* load_balancers, WorkQueue* ipam) {
    caches_.services.on_change([=](const ObjectKey&) { load_balancers->add(kAll); });
    caches_.nodes.on_change([=, this](const ObjectKey& key) {
      load_balancers->add(kAll);
      ipam->add(key);
      if (caches_.nodes.get(key) != nullptr) return;
      // What it had is free for whoever has none.
      for (const auto& node : caches_.nodes.list())
        if (node->pod_cidr.empty()) ipam->add(node->meta.key());
    });
  }

  // The life-cycle controller looks at all nodes by the clock, and at once when one changes; a Pod
  // concerns itself; a Node whose taints changed, its Pods.
  void watch_health(WorkQueue* lifecycle, WorkQueue* eviction) {
    lifecycle->add(kAll);
    caches_.pods.on_change([=](const ObjectKey& key) { eviction->add(key); });
    caches_.nodes.on_change_values(
        [=, this](const ObjectKey& key, const auto& old, const auto& now) {
          lifecycle->add(kAll);
          if (old != nullptr && now != nullptr && old->taints == now->taints) return;
          for (const auto& pod : caches_.pods.list())
            if (pod->node_name == key.name) eviction->add(pod->meta.key());
        });
  }

  // A Pod concerns itself; a Node that comes or goes, its Pods.
  void watch_pods(WorkQueue* gc) {
    caches_.pods.on_change([=](const ObjectKey& key) { gc->add(key); });
    caches_.nodes.on_change_values(
        [=, this](const ObjectKey& key, const auto& old, const auto& now) {
          if ((old == nullptr) == (now == nullptr)) return;
          for (const auto& pod : caches_.pods.list())
            if (pod->node_name == key.name) gc->add(pod->meta.key());
        });
  }

  void watch_namespaces(WorkQueue* namespaces, WorkQueue* accounts) {
    caches_.namespaces.on_change([=](const ObjectKey& key) {
      namespaces->add(key);
      accounts->add(key);
    });
    caches_.accounts.on_change([=](const ObjectKey& key) {
      if (key.name == "default") accounts->add({"", key.ns});
    });
  }

  void halt() {
    for (const auto& controller : controllers_) controller->stop();
    caches_.stop();
  }

  Caches caches_;
  OwnerGraph owners_;
  EventRecorder scheduler_events_, events_;
  EndpointsController endpoints_;
  EndpointSliceController slices_;
  EndpointSliceMirroringController mirroring_;
  LoadBalancerController load_balancers_;
  NodeIpamController node_ipam_;
  SchedulerController scheduler_;
  NodeLifecycleController node_lifecycle_;
  TaintEvictionController taint_eviction_;
  PodGarbageCollector pod_gc_;
  GarbageCollector collector_;
  NamespaceController namespaces_;
  ServiceAccountController accounts_;
  Workloads workloads_;
  std::vector<std::unique_ptr<Controller>> controllers_;
};

}  // namespace

Result<std::unique_ptr<Controllers>> Controllers::create(Client& client, const Clock& clock,
                                                         const ControllersOptions& options) {
  if (!options.pod_cidr.ip.is_v4() || options.node_cidr_prefix < options.pod_cidr.prefix ||
      options.node_cidr_prefix > 30)
    return Error{Code::BadRequest, "the Pod CIDR " + options.pod_cidr.to_string() +
                                       " has no room for nodes of /" +
                                       std::to_string(options.node_cidr_prefix)};
  return std::unique_ptr<Controllers>(std::make_unique<AllControllers>(client, clock, options));
}

}  // namespace coracle
