// The real Kernel, over netlink. Bound to one network namespace for good, whichever thread calls.
// One caller at a time.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "kernel.h"
#include "netlink/route_socket.h"
#include "netns.h"

namespace coracle {

class LinuxKernel final : public Kernel {
 public:
  // The calling thread's namespace.
  static Result<std::unique_ptr<LinuxKernel>> open();

  Result<KernelState> dump() override;
  Result<void> apply(const Operation& operation) override;
  Result<std::unique_ptr<Kernel>> inside(int netns_fd) override;
  Result<std::string> read_sysctl(const std::string& key) override;
  Result<void> write_sysctl(const std::string& key, const std::string& value) override;
  Result<void> write_sysctls(const std::map<std::string, std::string>& values) override;

 private:
  struct Names {
    std::map<std::string, int> index;
    std::map<int, std::string> name;
  };
  LinuxKernel(netlink::Socket socket, NetNs netns)
      : socket_(std::move(socket)), netns_(std::move(netns)) {}

  Result<Names> dump_links(std::vector<Link>& links);
  Result<Names> dump_all(KernelState& state);
  // NotFound when there is no such link.
  Result<int> index_of(const std::string& link);

  Result<void> run(const AddLink& o);
  Result<void> run(const ChangeLink& o);
  Result<void> run(const RemoveLink& o);
  Result<void> run(const AddAddress& o);
  Result<void> run(const RemoveAddress& o);
  Result<void> run(const AddRoute& o);
  Result<void> run(const RemoveRoute& o);
  Result<void> run(const AddNeighbor& o);
  Result<void> run(const RemoveNeighbor& o);
  Result<void> run(const AddFdb& o);
  Result<void> run(const RemoveFdb& o);

  netlink::Socket socket_;
  NetNs netns_;
};

}  // namespace coracle
