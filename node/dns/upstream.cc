#include "dns/upstream.h"

#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dns/socket_address.h"

namespace coracle::dns {
namespace {

constexpr std::size_t kMaxReads = 16;  // of one socket at one run(): strangers' packets are dropped

std::string key_of(const Question& question) {
  return std::string(question.name.wire()) + std::to_string(question.type);
}

Result<std::uint16_t> random_id() {
  std::uint16_t id = 0;
  if (::getrandom(&id, sizeof(id), 0) != sizeof(id)) return Error::from_errno(errno, "getrandom");
  return id;
}

Bytes bytes_of(const std::string& data) {
  return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()};
}

// What a server says that does not know EDNS, or not ours.
bool may_mean_edns(Rcode rcode) {
  return rcode == Rcode::FormErr || rcode == Rcode::NotImp || rcode == Rcode::BadVers;
}

// What another server might know better.
bool refuses(Rcode rcode) {
  return rcode != Rcode::NoError && rcode != Rcode::NxDomain;
}

}  // namespace

struct Forwarder::Pending {
  int number = 0;
  Question question;
  std::vector<Done> waiting;
  std::vector<UpstreamServer> servers;
  std::size_t tried = 0;
  // Of the try that runs:
  int fd = -1;
  bool tcp = false;
  Extension extension = Extension::Edns;
  bool retried = false;  // without EDNS, as the answer with it was an error
  bool silent = false;   // an earlier try has brought no answer
  std::uint16_t id = 0;
  Ip own;  // its address and port
  Port port = 0;
  std::string out, in;  // of TCP: what is to be written and was read
  std::chrono::steady_clock::time_point deadline;

  const UpstreamServer& server() const { return servers[(tried - 1) % servers.size()]; }
  // Nothing for what does not answer this: somebody guesses, or an answer to an earlier try.
  std::optional<Response> read(Bytes packet) const {
    auto response = parse_response(packet);
    if (!response || response->id != id) return std::nullopt;
    if (response->question && *response->question != question) return std::nullopt;
    return std::move(*response);
  }
};

Result<std::unique_ptr<Forwarder>> Forwarder::create(const Clock& clock, ForwarderOptions options) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return Error::from_errno(errno, "epoll_create1");
  return std::unique_ptr<Forwarder>(new Forwarder(clock, options, epoll));
}

Forwarder::Forwarder(const Clock& clock, ForwarderOptions options, int epoll)
    : clock_(clock), options_(options), epoll_(epoll) {}

Forwarder::~Forwarder() {
  for (const auto& [number, pending] : pending_) close(*pending);
  ::close(epoll_);
}

void Forwarder::ask(const Question& question, Done done) {
  const std::string key = key_of(question);
  if (const auto same = by_question_.find(key); same != by_question_.end()) {
    auto& waiting = pending_.at(same->second)->waiting;
    if (waiting.size() < options_.max_waiting) return waiting.push_back(std::move(done));
    return done(Error{Code::Unavailable, "too many wait for the same answer"});
  }
  if (health_.empty()) return done(Error{Code::Unavailable, "there is no upstream server"});
  if (pending_.size() >= options_.max_pending)
    return done(Error{Code::Unavailable, "too many questions are pending"});
  auto pending = std::make_unique<Pending>();
  pending->number = next_number_++;
  pending->question = question;
  pending->waiting.push_back(std::move(done));
  pending->servers = health_.order(clock_.steady_now());
  Pending& started = *pending;
  by_question_[key] = started.number;
  pending_[started.number] = std::move(pending);
  next_try(started);
}

bool Forwarder::sent_from(const Ip& ip, Port port) const {
  return std::any_of(pending_.begin(), pending_.end(), [&](const auto& entry) {
    return entry.second->fd >= 0 && entry.second->port == port && entry.second->own == ip;
  });
}

void Forwarder::next_try(Pending& pending) {
  const std::size_t tries =
      std::max(options_.tries, std::min<std::size_t>(pending.servers.size(), 3));
  while (pending.tried < tries) {
    ++pending.tried;
    pending.retried = false;
    // Some firewalls drop what has EDNS: who was silent is asked again without.
    const bool again = pending.silent && pending.tried > pending.servers.size();
    pending.extension = !again && health_.takes_edns(pending.server(), clock_.steady_now())
                            ? Extension::Edns
                            : Extension::None;
    if (send(pending)) return;
    health_.failed(pending.server(), clock_.steady_now());
    close(pending);
  }
  finish(pending, Error{Code::Unavailable, "no upstream server has answered"});
}

// The same try goes on.
void Forwarder::send_plain(Pending& pending) {
  close(pending);
  pending.retried = true;
  pending.extension = Extension::None;
  if (!send(pending)) give_up_try(pending);
}

Result<void> Forwarder::send(Pending& pending) {
  pending.id = TRY(random_id());
  const SocketAddress address(pending.server().ip, pending.server().port);
  pending.tcp = false;
  pending.fd = ::socket(address.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  // Connected: the kernel takes a random port, and packets of that server only.
  if (pending.fd < 0 || ::connect(pending.fd, address.get(), address.size) != 0)
    return Error::from_errno(errno, "an upstream server");
  SocketAddress own;
  if (::getsockname(pending.fd, own.get(), &own.size) != 0)
    return Error::from_errno(errno, "getsockname");
  pending.own = own.ip();
  pending.port = own.port();
  const std::string packet = encode_question(pending.id, pending.question, pending.extension);
  if (::send(pending.fd, packet.data(), packet.size(), MSG_NOSIGNAL) < 0)
    return Error::from_errno(errno, "an upstream server");
  pending.deadline = clock_.steady_now() + options_.try_timeout;
  return watch(pending, EPOLLIN);
}

Result<void> Forwarder::start_tcp(Pending& pending) {
  close(pending);
  pending.id = TRY(random_id());
  const SocketAddress address(pending.server().ip, pending.server().port);
  pending.tcp = true;
  pending.fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (pending.fd < 0) return Error::from_errno(errno, "socket");
  if (::connect(pending.fd, address.get(), address.size) != 0 && errno != EINPROGRESS)
    return Error::from_errno(errno, "an upstream server");
  const std::string packet = encode_question(pending.id, pending.question, pending.extension);
  pending.out =
      std::string{static_cast<char>(packet.size() >> 8U), static_cast<char>(packet.size() & 255U)} +
      packet;
  pending.in.clear();
  pending.deadline = clock_.steady_now() + options_.tcp_timeout;
  return watch(pending, EPOLLOUT);
}

Result<void> Forwarder::watch(Pending& pending, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = pending.number;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, pending.fd, &event) == 0) return {};
  if (errno == EEXIST && ::epoll_ctl(epoll_, EPOLL_CTL_MOD, pending.fd, &event) == 0) return {};
  return Error::from_errno(errno, "epoll_ctl");
}

void Forwarder::run() {
  std::array<epoll_event, 64> events{};
  const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    // An earlier one's callback may have ended it.
    const auto found = pending_.find(events.at(static_cast<std::size_t>(i)).data.fd);
    if (found != pending_.end()) read(*found->second);
  }
  const auto now = clock_.steady_now();
  std::vector<int> late;
  for (const auto& [number, pending] : pending_)
    if (pending->deadline <= now) late.push_back(number);
  for (const int number : late) {
    const auto found = pending_.find(number);
    if (found != pending_.end()) give_up_try(*found->second);
  }
}

std::optional<std::chrono::steady_clock::time_point> Forwarder::deadline() const {
  std::optional<std::chrono::steady_clock::time_point> first;
  for (const auto& [number, pending] : pending_)
    if (!first || pending->deadline < *first) first = pending->deadline;
  return first;
}

void Forwarder::read(Pending& pending) {
  if (pending.tcp) return go_on_tcp(pending);
  read_udp(pending);
}

void Forwarder::read_udp(Pending& pending) {
  std::array<std::uint8_t, 4096> buffer{};
  for (std::size_t reads = 0; reads < kMaxReads; ++reads) {
    const ssize_t size = ::recv(pending.fd, buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < 0) return give_up_try(pending);  // nobody listens there
    auto response = pending.read(Bytes(buffer).first(static_cast<std::size_t>(size)));
    if (!response) continue;
    if (!response->truncated) return take(pending, std::move(*response));
    if (!start_tcp(pending)) give_up_try(pending);
    return;
  }
}

void Forwarder::go_on_tcp(Pending& pending) {
  if (!pending.out.empty()) {
    const ssize_t sent = ::send(pending.fd, pending.out.data(), pending.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return give_up_try(pending);
    if (sent > 0) pending.out.erase(0, static_cast<std::size_t>(sent));
    if (!pending.out.empty()) return;
    if (!watch(pending, EPOLLIN)) give_up_try(pending);
    return;
  }
  std::array<char, 16384> buffer{};
  const ssize_t size = ::recv(pending.fd, buffer.data(), buffer.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return give_up_try(pending);
  pending.in.append(buffer.data(), static_cast<std::size_t>(size));
  if (pending.in.size() < 2) return;
  const Bytes in = bytes_of(pending.in);
  const std::size_t length = (static_cast<std::size_t>(in[0]) << 8U) | in[1];
  if (in.size() < 2 + length) return;
  auto response = pending.read(in.subspan(2, length));
  if (!response) return give_up_try(pending);
  take(pending, std::move(*response));
}

void Forwarder::take(Pending& pending, Response response) {
  health_.answered(pending.server());
  const Rcode rcode = response.reply.rcode;
  if (may_mean_edns(rcode) && pending.extension == Extension::Edns) return send_plain(pending);
  if (!refuses(rcode)) {
    if (pending.retried) health_.refused_edns(pending.server(), clock_.steady_now());
    return finish(pending, std::move(response.reply));
  }
  close(pending);
  next_try(pending);
}

void Forwarder::give_up_try(Pending& pending) {
  pending.silent = true;
  health_.failed(pending.server(), clock_.steady_now());
  close(pending);
  next_try(pending);
}

void Forwarder::finish(Pending& pending, const Result<Reply>& result) {
  close(pending);
  const std::vector<Done> waiting = std::move(pending.waiting);
  by_question_.erase(key_of(pending.question));
  pending_.erase(pending.number);  // callbacks may ask the same again
  for (const Done& done : waiting) done(result);
}

void Forwarder::close(Pending& pending) {
  if (pending.fd >= 0) ::close(pending.fd);
  pending.fd = -1;
  pending.port = 0;
}

}  // namespace coracle::dns
