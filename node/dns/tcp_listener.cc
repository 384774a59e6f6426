#include "dns/tcp_listener.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dns/socket_address.h"

namespace coracle::dns {
namespace {

constexpr int kMaxAccepts = 32;         // at one run()
constexpr std::size_t kChunk = 16'384;  // that is read at once

Bytes bytes_of(const std::string& data) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): characters as bytes
  return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()};
}

}  // namespace

struct TcpListener::Connection {
  int number = 0;
  int fd = -1;
  Responder::Source source;
  std::string in, out;
  std::size_t waiting = 0;  // questions without an answer
  bool ended = false;       // by its client, who may still read
  std::chrono::steady_clock::time_point last;
};

Result<std::unique_ptr<TcpListener>> TcpListener::create(const Clock& clock, Responder& responder,
                                                         std::vector<int> sockets,
                                                         TcpLimits limits) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  const int error = errno;
  std::unique_ptr<TcpListener> out(new TcpListener(clock, responder, epoll, limits));
  out->sockets_ = std::move(sockets);
  if (epoll < 0) return Error::from_errno(error, "epoll_create1");
  for (std::size_t i = 0; i < out->sockets_.size(); ++i) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = static_cast<int>(i);
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, out->sockets_[i], &event) != 0)
      return Error::from_errno(errno, "epoll_ctl");
  }
  return out;
}

TcpListener::TcpListener(const Clock& clock, Responder& responder, int epoll, TcpLimits limits)
    : clock_(clock), responder_(responder), epoll_(epoll), limits_(limits) {}

TcpListener::~TcpListener() {
  while (!connections_.empty()) close(connections_.begin()->first);
  for (const int socket : sockets_) ::close(socket);
  if (epoll_ >= 0) ::close(epoll_);
}

void TcpListener::run() {
  std::array<epoll_event, 64> events{};
  const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events.at(static_cast<std::size_t>(i));
    const auto index = static_cast<std::size_t>(event.data.fd);
    if (index < sockets_.size())
      accept(sockets_[index]);
    else
      serve(event.data.fd, event.events);
  }
  // Questions that had to wait until others were answered.
  std::vector<int> ready;
  for (const auto& [number, connection] : connections_)
    if (connection->in.size() >= 2 && connection->waiting < limits_.waiting)
      ready.push_back(number);
  for (const int number : ready) take_questions(number);
  const auto now = clock_.steady_now();
  std::vector<int> silent;
  for (const auto& [number, connection] : connections_)
    if (connection->last + limits_.silence <= now) silent.push_back(number);
  for (const int number : silent) close(number);
}

void TcpListener::stop_accepting() {
  for (const int socket : sockets_) (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
}

std::optional<std::chrono::steady_clock::time_point> TcpListener::deadline() const {
  std::optional<std::chrono::steady_clock::time_point> first;
  for (const auto& [number, connection] : connections_)
    if (!first || connection->last + limits_.silence < *first)
      first = connection->last + limits_.silence;
  return first;
}

void TcpListener::accept(int socket) {
  for (int i = 0; i < kMaxAccepts; ++i) {
    SocketAddress from;
    const int fd = ::accept4(socket, from.get(), &from.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const Ip ip = from.ip();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = next_number_;
    const bool welcome = responder_.serves(ip) && make_room(ip) &&
                         ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
    if (!welcome) {
      ::close(fd);
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->number = next_number_;
    connection->fd = fd;
    connection->source = {ip, from.port(), Transport::Tcp};
    connection->last = clock_.steady_now();
    connections_[next_number_] = std::move(connection);
    next_number_ = next_number_ == 1'000'000'000 ? 1000 : next_number_ + 1;
  }
}

// The one that is silent longest makes room, of the same source where that has too many.
bool TcpListener::make_room(const Ip& source) {
  const auto own = [&](const auto& entry) { return entry.second->source.ip == source; };
  const auto count = std::count_if(connections_.begin(), connections_.end(), own);
  const bool crowded = static_cast<std::size_t>(count) >= limits_.of_one_source;
  if (!crowded && connections_.size() < limits_.connections) return true;
  const Connection* oldest = nullptr;
  for (const auto& entry : connections_) {
    if (crowded && !own(entry)) continue;
    if (oldest == nullptr || entry.second->last < oldest->last) oldest = entry.second.get();
  }
  if (oldest == nullptr) return false;
  close(oldest->number);
  return true;
}

void TcpListener::serve(int number, std::uint32_t events) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return close(number);
  if ((events & EPOLLOUT) != 0 && !write(connection)) return close(number);
  if ((events & EPOLLIN) != 0 && !read(connection)) return close(number);
  take_questions(number);
}

// False when the connection is broken.
bool TcpListener::read(Connection& connection) {
  std::array<char, kChunk> buffer{};
  const ssize_t size = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) {
    connection.ended = true;
    return true;
  }
  connection.last = clock_.steady_now();
  connection.in.append(buffer.data(), static_cast<std::size_t>(size));
  return true;
}

// Answers may come while this runs, and close the connection.
void TcpListener::take_questions(int number) {
  for (auto found = connections_.find(number); found != connections_.end();
       found = connections_.find(number)) {
    Connection& connection = *found->second;
    const Bytes in = bytes_of(connection.in);
    const std::size_t size = in.size() < 2 ? 0 : (std::size_t{in[0]} << 8U) | in[1];
    if (in.size() < 2 + size || in.size() < 2 || connection.waiting >= limits_.waiting) {
      if (connection.ended && connection.waiting == 0 && connection.out.empty())
        return close(number);
      return follow(connection);
    }
    const std::string packet = connection.in.substr(2, size);
    connection.in.erase(0, 2 + size);
    // What deserves no answer is no DNS, and so not worth a connection.
    if (!parse_query(bytes_of(packet))) return close(number);
    ++connection.waiting;
    std::string out;
    const auto later = [this, number]() -> Responder::Send {
      return [this, number](const std::string& reply) { answer(number, reply); };
    };
    if (responder_.respond(bytes_of(packet), connection.source, out, later)) answer(number, out);
  }
}

void TcpListener::answer(int number, const std::string& packet) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  --connection.waiting;
  connection.last = clock_.steady_now();
  connection.out += static_cast<char>(packet.size() >> 8U);
  connection.out += static_cast<char>(packet.size() & 255U);
  connection.out += packet;
  if (connection.out.size() > limits_.unread || !write(connection)) return close(number);
  follow(connection);
}

// False when the connection is broken.
bool TcpListener::write(Connection& connection) {
  while (!connection.out.empty()) {
    const ssize_t sent =
        ::send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    connection.last = clock_.steady_now();
    connection.out.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

// What is to be waited for now.
void TcpListener::follow(Connection& connection) const {
  epoll_event event{};
  const bool full = connection.waiting >= limits_.waiting || !connection.out.empty();
  event.events =
      (connection.ended || full ? 0U : EPOLLIN) | (connection.out.empty() ? 0U : EPOLLOUT);
  event.data.fd = connection.number;
  (void)::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
}

void TcpListener::close(int number) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  ::close(found->second->fd);
  connections_.erase(found);
}

}  // namespace coracle::dns
