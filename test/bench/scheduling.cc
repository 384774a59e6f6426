// Benchmark of the scheduler's decisions, without the API; prints "metric value unit" lines.
//
//   bench_scheduling PODS NODES   Pods of one owner onto nodes in three zones, one after the other:
//                                 with requests only, then with anti-affinity and spread, too
#include "controllers/scheduling.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

namespace {

using namespace coracle;  // NOLINT: a program of its own

NodePtr a_node(int i) {
  const std::string name = "n" + std::to_string(i);
  return std::make_shared<const Node>(*Node::decode(Object(
      Json{{"metadata",
            {{"name", name},
             {"labels", {{kLabelHostname, name}, {kLabelZone, "z" + std::to_string(i % 3)}}}}},
           {"status",
            {{"allocatable", {{"cpu", "64"}, {"memory", "256Gi"}, {"pods", "250"}}},
             {"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}}})));
}

Json template_of(bool constrained) {
  Json spec = {
      {"containers",
       Json::array({{{"name", "c"},
                     {"resources", {{"requests", {{"cpu", "100m"}, {"memory", "64Mi"}}}}}}})}};
  if (!constrained) return spec;
  const Json selector = {{"matchLabels", {{"app", "web"}}}};
  spec["affinity"] = {
      {"podAntiAffinity",
       {{"preferredDuringSchedulingIgnoredDuringExecution",
         Json::array({{{"weight", 100},
                       {"podAffinityTerm",
                        {{"topologyKey", kLabelHostname}, {"labelSelector", selector}}}}})}}}};
  spec["topologySpreadConstraints"] = Json::array({{{"maxSkew", 1},
                                                    {"topologyKey", kLabelZone},
                                                    {"whenUnsatisfiable", "DoNotSchedule"},
                                                    {"labelSelector", selector}}});
  return spec;
}

void run(int pods, int nodes, bool constrained) {
  SchedulingState state;
  for (int i = 0; i < nodes; ++i) state.set_node(a_node(i));
  const Json spec = template_of(constrained);
  const Json owner = {
      {"kind", "ReplicaSet"}, {"name", "web"}, {"uid", "web"}, {"controller", true}};
  double seconds = 0;
  for (int i = 0; i < pods; ++i) {
    const std::string name = "p" + std::to_string(i);
    const auto pod = std::make_shared<const Pod>(
        *Pod::decode(Object(Json{{"metadata",
                                  {{"name", name},
                                   {"uid", name},
                                   {"namespace", "default"},
                                   {"labels", {{"app", "web"}}},
                                   {"ownerReferences", Json::array({owner})}}},
                                 {"spec", spec}})));
    const auto begin = std::chrono::steady_clock::now();
    const SchedulingDecision decision = schedule(*pod, state, {});
    if (decision.node.empty()) {
      std::fprintf(stderr, "bench_scheduling: %s\n", decision.message.c_str());
      std::exit(1);
    }
    state.place(pod, decision.node, SchedulingState::Source::Assumed);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  std::printf("scheduling decision, %d Pods on %d nodes%s\t%.1f\tus\n", pods, nodes,
              constrained ? ", anti-affinity and spread" : "", seconds / pods * 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  const int pods = argc > 1 ? std::atoi(argv[1]) : 1000;
  const int nodes = argc > 2 ? std::atoi(argv[2]) : 100;
  run(pods, nodes, false);
  run(pods, nodes, true);
}
