#include "netlink/linux_kernel.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "netlink/messages.h"

namespace coracle {
namespace {

using netlink::Message;

// Removing what is gone has succeeded.
Result<void> gone_is_fine(Result<void> result, std::initializer_list<int> errors) {
  if (result || is_not_found(result.error())) return {};
  for (const int error : errors) {
    if (result.error().message.ends_with(std::strerror(error)))  // NOLINT(concurrency-mt-unsafe)
      return {};
  }
  return result;
}

Result<std::string> sysctl_path(const std::string& key) {
  if (!key.starts_with("net/") || key.find("..") != std::string::npos)
    return Error{Code::BadRequest, "not a network sysctl: " + key};
  return "/proc/sys/" + key;
}

Result<std::string> read_proc(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, path);
  char buffer[256];
  const ssize_t n = ::read(fd, buffer, sizeof(buffer));
  const int error = errno;
  ::close(fd);
  if (n < 0) return Error::from_errno(error, path);
  std::string text(buffer, static_cast<std::size_t>(n));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<void> write_proc(const std::string& path, const std::string& value) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, path);
  const ssize_t n = ::write(fd, value.data(), value.size());
  const int error = errno;
  ::close(fd);
  if (n != static_cast<ssize_t>(value.size())) return Error::from_errno(error, path);
  return {};
}

}  // namespace

Result<std::unique_ptr<LinuxKernel>> LinuxKernel::open() {
  auto socket = TRY(netlink::Socket::open());
  auto netns = TRY(NetNs::current());
  return std::unique_ptr<LinuxKernel>(new LinuxKernel(std::move(socket), std::move(netns)));
}

Result<std::unique_ptr<Kernel>> LinuxKernel::inside(int netns_fd) {
  return call_in_netns<std::unique_ptr<Kernel>>(netns_fd, []() -> Result<std::unique_ptr<Kernel>> {
    return std::unique_ptr<Kernel>(TRY(LinuxKernel::open()));
  });
}

// /proc/sys/net shows the namespace of the thread that opens a file below it.
Result<std::string> LinuxKernel::read_sysctl(const std::string& key) {
  const std::string path = TRY(sysctl_path(key));
  return call_in_netns<std::string>(netns_.fd(), [&] { return read_proc(path); });
}

Result<void> LinuxKernel::write_sysctl(const std::string& key, const std::string& value) {
  const std::string path = TRY(sysctl_path(key));
  return run_in_netns(netns_.fd(), [&] { return write_proc(path, value); });
}

// One thread for all.
Result<void> LinuxKernel::write_sysctls(const std::map<std::string, std::string>& values) {
  return run_in_netns(netns_.fd(), [&]() -> Result<void> {
    for (const auto& [key, value] : values) {
      auto done = write_proc(TRY(sysctl_path(key)), value);
      if (!done && !is_not_found(done.error())) return done;
    }
    return {};
  });
}

Result<LinuxKernel::Names> LinuxKernel::dump_links(std::vector<Link>& links) {
  std::vector<netlink::LinkMessage> messages;
  TRY(socket_.dump(
      netlink::link_dump, [&] { messages.clear(); },
      [&](const nlmsghdr* header) {
        if (auto link = netlink::decode_link(header)) messages.push_back(std::move(*link));
      }));
  Names names;
  for (const auto& message : messages) {
    names.index[message.link.name] = message.index;
    names.name[message.index] = message.link.name;
  }
  for (auto& message : messages) {
    const auto master = names.name.find(message.master);
    if (master != names.name.end()) message.link.master = master->second;
    const auto underlay = names.name.find(message.underlay);
    if (message.link.vxlan && underlay != names.name.end())
      message.link.vxlan->underlay = underlay->second;
    links.push_back(std::move(message.link));
  }
  return names;
}

namespace {

// Dumps objects that hang on a link; those of links that came meanwhile are left out.
template <typename T, typename Value>
Result<void> dump_on_links(netlink::Socket& socket, const std::map<int, std::string>& names,
                           Message (*request)(), std::optional<T> (*decode)(const nlmsghdr*),
                           Value T::*member, std::vector<Value>& values) {
  return socket.dump(
      request, [&] { values.clear(); },
      [&](const nlmsghdr* header) {
        auto message = decode(header);
        if (!message) return;
        const auto name = names.find(message->link);
        if (name == names.end()) return;
        Value value = (*message).*member;
        value.link = name->second;
        values.push_back(std::move(value));
      });
}

}  // namespace

Result<LinuxKernel::Names> LinuxKernel::dump_all(KernelState& state) {
  state = {};
  Names names = TRY(dump_links(state.links));
  TRY(dump_on_links(socket_, names.name, netlink::address_dump, netlink::decode_address,
                    &netlink::AddressMessage::address, state.addresses));
  TRY(dump_on_links(socket_, names.name, netlink::route_dump, netlink::decode_route,
                    &netlink::RouteMessage::route, state.routes));
  TRY(dump_on_links(socket_, names.name, netlink::neighbor_dump, netlink::decode_neighbor,
                    &netlink::NeighborMessage::neighbor, state.neighbors));
  TRY(dump_on_links(socket_, names.name, netlink::fdb_dump, netlink::decode_fdb,
                    &netlink::FdbMessage::entry, state.fdb));
  return names;
}

Result<KernelState> LinuxKernel::dump() {
  KernelState state;
  TRY(dump_all(state));
  std::sort(state.links.begin(), state.links.end());
  std::sort(state.addresses.begin(), state.addresses.end());
  std::sort(state.routes.begin(), state.routes.end());
  std::sort(state.neighbors.begin(), state.neighbors.end());
  std::sort(state.fdb.begin(), state.fdb.end());
  return state;
}

Result<int> LinuxKernel::index_of(const std::string& link) {
  int index = 0;
  const auto asked = socket_.ask(netlink::link_request(link).get(), [&](const nlmsghdr* header) {
    if (const auto found = netlink::decode_link(header)) index = found->index;
  });
  if (!asked && !is_not_found(asked.error())) return asked.error();
  if (index == 0) return Error{Code::NotFound, "there is no link " + link};
  return index;
}

Result<void> LinuxKernel::apply(const Operation& operation) {
  return std::visit([this](const auto& o) { return run(o); }, operation);
}

Result<void> LinuxKernel::run(const AddLink& o) {
  if (o.link.name.empty() || o.link.name.size() >= 16)
    return Error{Code::BadRequest, "link name '" + o.link.name + "' is too long or empty"};
  const int master = o.link.master.empty() ? 0 : TRY(index_of(o.link.master));
  const bool on_device = o.link.vxlan && !o.link.vxlan->underlay.empty();
  const int underlay = on_device ? TRY(index_of(o.link.vxlan->underlay)) : 0;
  AddLink add = o;
  // A bridge keeps an MTU only if it was changed: one that it was made with is replaced by its
  // ports' least, and by 1500 when the last port leaves (br_mtu_auto_adjust).
  if (o.link.kind == "bridge") add.link.mtu = 0;
  auto made = socket_.change(netlink::link_create(add, master, underlay).get());
  if (!made && (o.exclusive || !is_already_exists(made.error()))) return made;
  // What is there already is made alike.
  if (!made || add.link.mtu != o.link.mtu) return run(ChangeLink{o.link});
  // A port's mode needs the port to exist.
  if (!o.link.hairpin) return {};
  return socket_.change(netlink::port_change(o.link.name, true).get());
}

Result<void> LinuxKernel::run(const ChangeLink& o) {
  const int master = o.link.master.empty() ? 0 : TRY(index_of(o.link.master));
  TRY(socket_.change(netlink::link_change(o.link, master).get()));
  if (o.link.vxlan)
    TRY(socket_.change(netlink::learning_change(o.link.name, o.link.vxlan->learning).get()));
  if (master == 0) return {};
  return socket_.change(netlink::port_change(o.link.name, o.link.hairpin).get());
}

Result<void> LinuxKernel::run(const RemoveLink& o) {
  return gone_is_fine(socket_.change(netlink::link_remove(o.name).get()), {});
}

Result<void> LinuxKernel::run(const AddAddress& o) {
  const int link = TRY(index_of(o.address.link));
  return socket_.change(netlink::address_change(o.address, link, true).get());
}

Result<void> LinuxKernel::run(const RemoveAddress& o) {
  const auto link = index_of(o.address.link);
  if (!link) return gone_is_fine(link.error(), {});
  return gone_is_fine(socket_.change(netlink::address_change(o.address, *link, false).get()),
                      {EADDRNOTAVAIL});
}

Result<void> LinuxKernel::run(const AddRoute& o) {
  const int link = TRY(index_of(o.route.link));
  return socket_.change(netlink::route_change(o.route, link, true).get());
}

Result<void> LinuxKernel::run(const RemoveRoute& o) {
  const auto link = index_of(o.route.link);
  if (!link) return gone_is_fine(link.error(), {});
  return gone_is_fine(socket_.change(netlink::route_change(o.route, *link, false).get()), {});
}

Result<void> LinuxKernel::run(const AddNeighbor& o) {
  const int link = TRY(index_of(o.neighbor.link));
  return socket_.change(netlink::neighbor_change(o.neighbor, link, true).get());
}

Result<void> LinuxKernel::run(const RemoveNeighbor& o) {
  const auto link = index_of(o.neighbor.link);
  if (!link) return gone_is_fine(link.error(), {});
  return gone_is_fine(socket_.change(netlink::neighbor_change(o.neighbor, *link, false).get()), {});
}

Result<void> LinuxKernel::run(const AddFdb& o) {
  const int link = TRY(index_of(o.entry.link));
  return socket_.change(netlink::fdb_change(o.entry, link, true).get());
}

Result<void> LinuxKernel::run(const RemoveFdb& o) {
  const auto link = index_of(o.entry.link);
  if (!link) return gone_is_fine(link.error(), {});
  return gone_is_fine(socket_.change(netlink::fdb_change(o.entry, *link, false).get()), {});
}

}  // namespace coracle
