// Who answers a name outside the cluster: a host of the configuration at once, a stub domain's own
// servers, or the node's upstream servers. Not thread-safe: one thread, the loop's.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dns/upstream.h"

namespace coracle::dns {

struct StubDomain {
  Name zone;
  std::vector<UpstreamServer> servers;
  bool operator==(const StubDomain&) const = default;
};
struct StaticNames {
  std::map<std::string, std::vector<Ip>> hosts;  // by name, in wire format
  std::vector<StubDomain> stubs;                 // those of the most labels first
};
// From "ZONE=IP", "ZONE=IP:PORT" or "ZONE=[IPv6]:PORT", and "NAME=IP"; equal zones and names add to
// each other. BadRequest names the part that is wrong, also a host of one label, which nobody
// outside a node's own network means.
Result<StaticNames> parse_static_names(const std::vector<std::string>& stubs,
                                       const std::vector<std::string>& hosts);

class Routes final : public Upstream {
 public:
  static Result<std::unique_ptr<Routes>> create(const Clock& clock, const ForwarderOptions& options,
                                                StaticNames names = {});
  ~Routes() override;
  Routes(const Routes&) = delete;
  Routes& operator=(const Routes&) = delete;

  // For all that has no route of its own.
  void set_servers(const std::vector<UpstreamServer>& servers) { others_->set_servers(servers); }
  void ask(const Question& question, Done done) override;
  // As those of Forwarder.
  bool sent_from(const Ip& ip, Port port) const;
  int fd() const { return epoll_; }
  void run();
  std::optional<std::chrono::steady_clock::time_point> deadline() const;

 private:
  struct Stub {
    Name zone;
    std::unique_ptr<Forwarder> forwarder;
  };
  Routes(std::map<std::string, std::vector<Ip>> hosts, std::vector<Stub> stubs,
         std::unique_ptr<Forwarder> others, int epoll);

  const std::map<std::string, std::vector<Ip>> hosts_;
  const std::vector<Stub> stubs_;
  const std::unique_ptr<Forwarder> others_;
  const int epoll_;
};

}  // namespace coracle::dns
