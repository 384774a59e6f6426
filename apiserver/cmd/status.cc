// `coracle status`: the server, its nodes and its data at a glance.
#include <coracle/api/peers.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "commands.h"

namespace coracle {
namespace {

using Clock = std::chrono::system_clock;

void line(const char* what, const std::string& text) {
  std::printf("%-10s%s\n", what, text.c_str());
}

std::string plural(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string ago(Clock::duration age) {
  const auto seconds =
      std::max<std::int64_t>(0, std::chrono::floor<std::chrono::seconds>(age).count());
  struct Unit {
    std::int64_t seconds;
    const char* name;
  };
  for (const Unit& unit : {Unit{86400, "day"}, Unit{3600, "hour"}, Unit{60, "minute"}})
    if (seconds >= unit.seconds)
      return plural(static_cast<std::size_t>(seconds / unit.seconds), unit.name) + " ago";
  return plural(static_cast<std::size_t>(seconds), "second") + " ago";
}

// The rest of the first line that begins with the text.
std::string after(const std::string& metrics, const std::string& begin) {
  const auto at = ("\n" + metrics).find("\n" + begin);
  if (at == std::string::npos) return "";
  const auto from = at + begin.size();
  return metrics.substr(from, metrics.find('\n', from) - from);
}

// The node's condition, an empty object when it has none of that type.
Json condition_of(const Object& node, const char* type) {
  const Json* conditions = json_find(node.json(), {"status", "conditions"});
  if (conditions != nullptr && conditions->is_array())
    for (const Json& c : *conditions)
      if (json_string(c, {"type"}) == type) return c;
  return Json::object();
}

bool is_true(const Json& condition) {
  return json_string(condition, {"status"}) == "True";
}

std::string why(const Json& condition) {
  return "  " + json_string(condition, {"reason"}) + ": " + json_string(condition, {"message"});
}

// True when the node is ready.
bool show_node(const Object& node) {
  const Json condition = condition_of(node, "Ready");
  const bool ready = is_true(condition);
  std::string text = ready || condition.empty() ? "" : why(condition);
  if (json_bool(node.json(), {"spec", "unschedulable"})) text += "  SchedulingDisabled";
  const std::string address = node_address(node);
  line("node", node.name() + (ready ? "  Ready  " : "  NotReady  ") +
                   (address.empty() ? "<none>" : address) + "  Pods " +
                   json_string(node.json(), {"spec", "podCIDR"}) + text);
  return ready;
}

// True when no node that is ready fails to reach another one that is.
bool show_peers(const std::vector<Object>& nodes) {
  std::vector<PeerRow> rows;
  rows.reserve(nodes.size());
  for (const Object& node : nodes)
    rows.push_back(
        {node.name(), is_true(condition_of(node, "Ready")),
         parse_peers(json_string(node.json(), {"metadata", "annotations", kPeersAnnotation}))});
  const PeerMatrix matrix = compute_peer_matrix(rows);
  for (const std::string& text : matrix.lines)
    line(&text == &matrix.lines.front() ? "peers" : "", text);
  return matrix.well;
}

Result<bool> show_nodes(Client& client) {
  const auto nodes = TRY(client.list(resources::kNodes, {}));
  if (nodes.items.empty()) line("node", "none: this server runs without an agent");
  bool ready = true;
  for (const Object& node : nodes.items) ready = show_node(node) && ready;
  return show_peers(nodes.items) && ready;
}

Result<void> show_objects(Client& client) {
  const auto pods = TRY(client.list(resources::kPods, {}));
  const auto services = TRY(client.list(resources::kServices, {}));
  std::map<std::string, std::size_t> phases;
  std::size_t ready = 0;
  for (const Object& pod : pods.items) {
    ++phases[json_string(pod.json(), {"status", "phase"})];
    const Json* conditions = json_find(pod.json(), {"status", "conditions"});
    if (conditions != nullptr && conditions->is_array() &&
        std::any_of(conditions->begin(), conditions->end(), [](const Json& c) {
          return json_string(c, {"type"}) == "Ready" && json_string(c, {"status"}) == "True";
        }))
      ++ready;
  }
  std::string text = std::to_string(pods.items.size());
  for (const auto& [phase, count] : phases)
    text += ", " + std::to_string(count) + " " + (phase.empty() ? "unknown" : phase);
  line("pods", text + (pods.items.empty() ? "" : ", " + std::to_string(ready) + " ready"));
  line("services", std::to_string(services.items.size()));
  if (const auto dns = cluster_dns_facts(client))
    line("dns", dns->address + " on every node, names as kubernetes.default.svc." + dns->domain);
  return {};
}

void show_rules(const std::string& metrics) {
  const std::string backend = after(metrics, "coracle_proxy_backend_starts_total{backend=\"");
  const double last =
      std::atof(after(metrics, "kubeproxy_sync_proxy_rules_last_timestamp_seconds ").c_str());
  std::string text = backend.substr(0, backend.find('"'));
  if (text.empty()) text = "none";
  if (last > 0) {
    const auto since = Clock::time_point(
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(last)));
    text += ", brought up to date " + ago(Clock::now() - since);
  } else if (!backend.empty()) {
    text += ", not yet in the kernel";
  }
  line("rules", text);
}

void show_data(const std::string& data_dir) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::uintmax_t bytes = 0;
  for (const char* suffix : {"", "-wal"}) {
    const auto size = fs::file_size(database_path(data_dir) + suffix, error);
    if (!error) bytes += size;
  }
  std::size_t snapshots = 0;
  auto newest = fs::file_time_type::min();
  for (fs::directory_iterator it(data_dir + "/snapshots", error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() != ".db") continue;
    ++snapshots;
    newest = std::max(newest, it->last_write_time(error));
  }
  std::string text = data_dir + ", database " + std::to_string((bytes + 1023) / 1024) + " KiB, " +
                     plural(snapshots, "snapshot");
  if (snapshots > 0)
    text +=
        ", the newest " +
        ago(std::chrono::duration_cast<Clock::duration>(fs::file_time_type::clock::now() - newest));
  line("data", text);
}

std::string version_of(const std::string& document) {
  return json_string(Json::parse(document, nullptr, false), {"gitVersion"});
}

// False when something is not as it should be; it was shown then.
Result<bool> show(const HttpClientOptions& options) {
  const auto ready = http_get(options, "/readyz");
  // One that is not ready yet answers all the same.
  const auto version = http_get(options, "/version");
  if (!version) {
    line("server", options.server + "  does not answer: " + version.error().message);
    return false;
  }
  line("server", options.server + "  " + (ready ? "ready" : "NOT READY: " + ready.error().message) +
                     "  " + version_of(*version));
  const auto client = TRY(make_http_client(options));
  const bool nodes = TRY(show_nodes(*client));
  TRY(show_objects(*client));
  show_rules(TRY(http_get(options, "/metrics")));
  return ready && nodes;
}

}  // namespace

int print_status(const std::string& data_dir) {
  const auto options = admin_options(data_dir);
  if (!options) return fail(options.error().context("no server's data directory"));
  const auto healthy = show(*options);
  show_data(data_dir);
  (void)std::fflush(stdout);
  if (!healthy) return fail(healthy.error());
  return *healthy ? 0 : 1;
}

}  // namespace coracle
