// Benchmarks of what the node agent does to the kernel. To be run in a network namespace of its
// own (scripts/bench.sh does); prints "metric value unit" lines.
//
//   bench_kernel rules nft|legacy SERVICES   first full sync, then changes of one endpoint
//   bench_kernel attach PODS                 Pods connected to the network, beside the bare netlink
//                                            calls that this consists of
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "node/netlink/linux_kernel.h"
#include "node/netns.h"
#include "node/pod_network.h"
#include "node/proxy/iptables_backend.h"
#include "node/proxy/iptables_tool.h"

namespace {

using namespace coracle;  // NOLINT: a program of its own
using SteadyClock = std::chrono::steady_clock;

double milliseconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count();
}

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "bench_kernel: %s\n", result.error().message.c_str());
  std::exit(1);
}
void must(const Result<void>& result) {
  if (result) return;
  std::fprintf(stderr, "bench_kernel: %s\n", result.error().message.c_str());
  std::exit(1);
}

void print(const std::string& metric, double value, const char* unit) {
  std::printf("%s\t%.3f\t%s\n", metric.c_str(), value, unit);
}
void print_percentiles(const std::string& metric, std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  print(metric + " p50", samples[samples.size() / 2], "ms");
  print(metric + " p99", samples[std::min(samples.size() - 1, samples.size() * 99 / 100)], "ms");
}

double memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

Ip address(unsigned net, unsigned number) {
  return *Ip::parse(std::to_string(net) + "." + std::to_string(number >> 16 & 255) + "." +
                    std::to_string(number >> 8 & 255) + "." + std::to_string(number & 255));
}

proxy::ServiceTable services(int count) {
  proxy::ServiceTable table;
  for (int i = 0; i < count; ++i) {
    proxy::ServicePort port;
    char name[16];
    (void)std::snprintf(name, sizeof(name), "s%05d", i);
    port.service = {"default", name};
    port.port = 80;
    port.cluster_ip = address(10, (96U << 16U) + static_cast<unsigned>(i + 256));
    for (unsigned e = 0; e < 5; ++e)
      port.cluster_endpoints.push_back(
          {address(10, (42U << 16U) + static_cast<unsigned>(i * 5) + e), 8080, e == 0});
    port.local_endpoints = {port.cluster_endpoints.front()};
    table.ports.push_back(std::move(port));
  }
  return table;
}

void rules(const std::string& variant, int count) {
  auto tool =
      must(IptablesTool::open(variant == "nft" ? IptablesVariant::Nft : IptablesVariant::Legacy));
  proxy::IptablesConfig config{};
  config.pod_cidr = *Cidr::parse("10.42.0.0/16");
  proxy::IptablesBackend backend(std::move(tool), config);
  proxy::ServiceTable table = services(count);
  const std::string what = std::to_string(count) + " Services x 5, iptables-" + variant + ", ";
  auto begin = SteadyClock::now();
  must(backend.sync(table));
  print(what + "first sync", milliseconds_since(begin), "ms");
  std::vector<double> samples;
  for (unsigned i = 0; i < 20; ++i) {
    auto& port = table.ports[(i * 7919U) % table.ports.size()];
    port.cluster_endpoints.back().ip = address(10, (43U << 16U) + i);
    begin = SteadyClock::now();
    must(backend.sync(table));
    samples.push_back(milliseconds_since(begin));
    if (!must(backend.intact())) std::fprintf(stderr, "bench_kernel: own changes seen as damage\n");
  }
  print_percentiles(what + "change of an endpoint", samples);
  print(what + "memory", memory_mib(), "MiB");
  must(backend.cleanup());
}

void attach(int pods) {
  const std::string dir =
      std::filesystem::temp_directory_path() / ("bench-" + std::to_string(getpid()));
  std::filesystem::create_directories(dir);
  auto network = must(PodNetwork::create({.data_dir = dir,
                                          .pod_cidr = *Cidr::parse("10.42.0.0/24"),
                                          .cluster_cidr = *Cidr::parse("10.42.0.0/16"),
                                          .node_ip = *Ip::parse("192.0.2.1")}));
  auto kernel = must(LinuxKernel::open());
  std::vector<double> attached, bare;
  for (int i = 0; i < pods; ++i) {
    const std::string name = "p" + std::to_string(i);
    for (const bool ours : {true, false}) {
      const NetNs ns = must(NetNs::create(dir, name));
      Cable cable;
      cable.host = {.name = "bare0",
                    .kind = "veth",
                    .master = kBridgeName,
                    .mac = {},
                    .mtu = 1500,
                    .up = true};
      cable.peer = {"eth0", ns.fd(), {}, 1500};
      const auto begin = SteadyClock::now();
      if (ours) {
        must(network->add(name, ns.fd()));
      } else {
        // The pair on the bridge, its ends up, an address, two routes and three settings.
        must(kernel->apply(AddLink{cable.host, cable.peer}));
        auto inside = must(kernel->inside(ns.fd()));
        Link end{};
        for (const char* name_of_end : {"lo", "eth0"}) {
          end.name = name_of_end;
          end.up = true;
          must(inside->apply(ChangeLink{end}));
        }
        must(inside->apply(AddAddress{{"eth0", *Cidr::parse("10.42.0.200/24")}}));
        must(inside->apply(AddRoute{{*Cidr::parse("10.42.0.1/32"), "eth0"}}));
        must(inside->apply(AddRoute{{Cidr{Ip(), 0}, "eth0", *Ip::parse("10.42.0.1")}}));
        std::map<std::string, std::string> settings;
        for (const char* device : {"all", "default", "eth0"})
          settings[std::string("net/ipv4/conf/") + device + "/accept_redirects"] = "0";
        must(inside->write_sysctls(settings));
      }
      (ours ? attached : bare).push_back(milliseconds_since(begin));
      if (ours)
        must(network->del(name));
      else
        must(kernel->apply(RemoveLink{"bare0"}));
      must(NetNs::remove(dir, name));
    }
  }
  print_percentiles("Pod attach", attached);
  print_percentiles("bare netlink calls of it", bare);
  network.reset();
  must(PodNetwork::cleanup(dir));
  std::filesystem::remove_all(dir);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "rules" && argc == 4)
    rules(argv[2], std::atoi(argv[3]));
  else if (mode == "attach" && argc == 3)
    attach(std::atoi(argv[2]));
  else
    std::fprintf(stderr, "see the head of this program\n");
  return 0;
}
