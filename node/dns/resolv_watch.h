// Follows /etc/resolv.conf: which upstream servers there are now. A file that is replaced, or a
// link whose target is, is seen by inotify on the directories. Not thread-safe.
#pragma once

#include <coracle/result.h>

#include <memory>
#include <string>
#include <vector>

#include "dns/name.h"
#include "dns/upstream_health.h"

namespace coracle::dns {

struct UpstreamConfig {
  std::vector<UpstreamServer> servers;
  std::vector<Name> search;
  bool operator==(const UpstreamConfig&) const = default;
};

// What resolv.conf says, without servers whose address is `own` (the cluster DNS address would be
// ourselves) and at most 3, as libc reads it. Pure.
UpstreamConfig compute_upstream_config(const std::vector<std::string>& nameservers,
                                       const std::vector<std::string>& search, const Ip& own);

class ResolvWatch {
 public:
  static Result<std::unique_ptr<ResolvWatch>> create(std::string path = "/etc/resolv.conf");
  ~ResolvWatch();
  ResolvWatch(const ResolvWatch&) = delete;
  ResolvWatch& operator=(const ResolvWatch&) = delete;

  int fd() const { return inotify_; }  // readable when something has happened
  // Reads what has happened: whether the file may have changed.
  bool changed();

 private:
  ResolvWatch(std::string path, int inotify) : path_(std::move(path)), inotify_(inotify) {}
  void watch();

  const std::string path_;
  const int inotify_;
  std::vector<int> watches_;
  std::vector<std::string> names_;  // of the file and of what it links to
};

}  // namespace coracle::dns
