// The addresses of this node's Pod CIDR. One small file per address, so that a damaged one costs
// one address and nothing else; an address that was given back is used again last (round robin).
// Thread-compatible: its owner locks.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <map>
#include <optional>
#include <set>
#include <string>

namespace coracle {

class Ipam {
 public:
  // Reads what is in `directory`. Allocations outside the CIDR (it changed) stay until they are
  // released. BadRequest for an IPv6 CIDR.
  static Result<Ipam> open(std::string directory, const Cidr& pod_cidr);

  // The Pod's address, the same one when asked again; never the network's, the first (the bridge's)
  // or the last one. In a file before it is returned, so that a crash of ours forgets none; a power
  // cut may, and ends the Pods too. Unavailable when none is free.
  Result<Ip> allocate(const std::string& pod_uid);
  std::optional<Ip> find(const std::string& pod_uid) const;
  // Success when it has none.
  Result<void> release(const std::string& pod_uid);
  // Releases every address of others, unreadable records included.
  Result<void> retain(const std::set<std::string>& pod_uids);
  // By address; the uid is empty where the record is unreadable.
  const std::map<Ip, std::string>& allocations() const { return uids_; }

 private:
  Ipam(std::string directory, Cidr pod_cidr)
      : directory_(std::move(directory)), pod_cidr_(pod_cidr) {}
  Result<void> load();
  Result<void> forget(const Ip& ip);

  std::string directory_;
  Cidr pod_cidr_;
  std::map<Ip, std::string> uids_;
  std::map<std::string, Ip> ips_;
  std::optional<Ip> last_;
};

}  // namespace coracle
