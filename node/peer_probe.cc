#include "peer_probe.h"

#include <coracle/log.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "kernel_state.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kHeaders = 28;  // IPv4 and UDP
constexpr auto kOpenRetry = 1s;
constexpr auto kHeardInterval = 1s;
constexpr int kMostAtOnce = 256;  // packets that are read before the clock is looked at again
// How many times the packets of the rounds of a peer that finds us failing are answered.
constexpr double kGenerosity = 4;

// Packets of a round in which nothing is answered.
double most_packets(const RoundTimes& times) {
  return static_cast<double>(kProbeKinds) * times.attempts;
}

std::uint64_t random_id() {
  std::uint64_t id = 0;
  if (getrandom(&id, sizeof(id), 0) != sizeof(id)) std::abort();  // not for so few
  return id;
}

}  // namespace

PeerProbe::PeerProbe(PeerProbeOptions options)
    : options_(std::move(options)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      rounds_(options_.times) {}

PeerProbe::~PeerProbe() {
  stop();
}

void PeerProbe::follow(const Ip& address, const std::optional<std::vector<ProbePeer>>& peers) {
  {
    const MutexLock lock(mutex_);
    Wanted wanted{address, peers};
    if (wanted == wanted_) return;
    wanted_ = std::move(wanted);
    changed_ = true;
  }
  if (!thread_.joinable() && (!peers || !peers->empty()))
    thread_ = std::jthread([this](const std::stop_token& token) { loop(token); });
  wake();
}

void PeerProbe::probe_now() {
  {
    const MutexLock lock(mutex_);
    at_once_ = true;
  }
  wake();
}

void PeerProbe::stop() {
  thread_.request_stop();
  wake();
  if (thread_.joinable()) thread_.join();
}

void PeerProbe::wake() {
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof(one));
}

void PeerProbe::loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const Time now = std::chrono::steady_clock::now();
    take_news(now);
    keep_socket(now);
    if (socket_) send_round(now);
    tell();
    wait(now);
    if (socket_) receive(std::chrono::steady_clock::now());
  }
}

void PeerProbe::take_news(Time now) {
  std::uint64_t count = 0;
  (void)!::read(wake_.get(), &count, sizeof(count));
  bool at_once = false;
  {
    const MutexLock lock(mutex_);
    at_once = std::exchange(at_once_, false);
    if (std::exchange(changed_, false)) {
      if (now_.address != wanted_.address) socket_.reset();
      now_ = wanted_;
      rounds_.set_peers(now_.peers.value_or(std::vector<ProbePeer>{}), now);
      std::erase_if(senders_, [&](const auto& entry) { return !rounds_.has_peer(entry.first); });
    }
  }
  if (at_once) rounds_.probe_now(now);
}

void PeerProbe::keep_socket(Time now) {
  const bool needed = !now_.peers || !now_.peers->empty();
  if (!needed) socket_.reset();
  if (!needed || socket_ || now < next_open_) return;
  auto opened = ProbeSocket::open({now_.address, options_.port});
  if (opened) {
    socket_.emplace(std::move(*opened));
    warned_ = false;
    return;
  }
  next_open_ = now + kOpenRetry;
  if (!std::exchange(warned_, true))
    log::warn("peers", "the way to other nodes is not tested, trying again until it works",
              {{"error", opened.error().message}});
}

void PeerProbe::send_round(Time now) {
  const auto sends = rounds_.step(now, random_id);
  if (sends.empty()) return;
  const auto mtu = link_mtu(kBridgeName);
  large_ = std::max<std::size_t>(mtu ? *mtu : 0, kSmallProbe + kHeaders) - kHeaders;
  ProbePacket packet{.node = options_.node_name};
  const auto url = options_.announce ? options_.announce() : std::nullopt;
  if (url) packet.server = parse_server_url(*url);
  for (const PeerRounds::Send& send : sends) {
    packet.kind = send.kind;
    packet.id = send.id;
    const auto bytes = encode_probe(packet, send.kind == ProbeKind::Large ? large_ : kSmallProbe);
    socket_->send({send.to, options_.port}, send.kind, bytes);
  }
}

void PeerProbe::tell() {
  if (!now_.peers || !rounds_.known() || !options_.report) return;
  auto results = rounds_.results();
  if (told_ && *told_ == results) return;
  options_.report(results);
  told_ = std::move(results);
}

// Until a packet, news, or what is due next.
void PeerProbe::wait(Time now) {
  std::array<pollfd, 2> polls{{{wake_.get(), POLLIN, 0}, {-1, POLLIN, 0}}};
  if (socket_) polls[1].fd = socket_->fd();
  std::optional<Time> until = socket_ ? rounds_.next() : std::nullopt;
  const bool opening = !socket_ && (!now_.peers || !now_.peers->empty());
  if (opening) until = next_open_;
  if (!until) {
    (void)::poll(polls.data(), polls.size(), -1);
    return;
  }
  const auto left = std::clamp<std::chrono::nanoseconds>(*until - now, 0ns, 1h);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  (void)::ppoll(polls.data(), polls.size(), &limit, nullptr);
}

void PeerProbe::receive(Time now) {
  for (int i = 0; i < kMostAtOnce; ++i) {
    const auto received = socket_->receive();
    if (!received) return;
    handle(*received, now);
  }
}

void PeerProbe::handle(const ProbeSocket::Received& received, Time now) {
  Sender* const sender = sender_of(received.from);
  const auto packet = sender != nullptr ? decode_probe(received.bytes) : std::nullopt;
  if (!packet) return;
  if (packet->type == ProbePacket::Type::Request) {
    answer(received, *packet, *sender, now);
    hear(*packet, *sender, now);
    return;
  }
  const std::size_t size = packet->kind == ProbeKind::Large ? large_ : kSmallProbe;
  if (received.bytes.size() == size) rounds_.answered(received.from.ip, *packet);
}

// Whose packets count: the peers', from where they send them.
PeerProbe::Sender* PeerProbe::sender_of(const ProbeSocket::Endpoint& from) {
  if (from.port != options_.port) return nullptr;
  if (rounds_.has_peer(from.ip)) return &senders_[from.ip];
  if (now_.peers || !options_.cluster_cidr.contains(from.ip)) return nullptr;
  return &senders_[Ip()];
}

void PeerProbe::answer(const ProbeSocket::Received& received, const ProbePacket& request,
                       Sender& sender, Time now) {
  const double most = kGenerosity * most_packets(options_.times);
  const std::chrono::duration<double> passed = now - sender.counted;
  const std::chrono::duration<double> round = options_.times.interval / 2;
  sender.answers = std::min(most, sender.answers + most * (passed / round));
  sender.counted = now;
  if (sender.answers < 1) return;
  sender.answers -= 1;
  const ProbePacket packet{.type = ProbePacket::Type::Answer,
                           .kind = request.kind,
                           .id = request.id,
                           .node = options_.node_name};
  socket_->send(received.from, request.kind, encode_probe(packet, received.bytes.size()));
}

void PeerProbe::hear(const ProbePacket& request, Sender& sender, Time now) {
  if (!request.server || !options_.heard) return;
  if (sender.heard && now - *sender.heard < kHeardInterval) return;
  sender.heard = now;
  options_.heard(server_url(*request.server));
}

}  // namespace coracle
