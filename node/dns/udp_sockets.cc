#include "dns/udp_sockets.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "dns/socket_address.h"

namespace coracle::dns {
namespace {

constexpr std::size_t kBatch = 32;
constexpr std::size_t kMaxQuestion = 2048;  // longer ones are cut, and so malformed

}  // namespace

// The packets of one recvmmsg, and the answers to them that are known at once.
class UdpSockets::Batch {
 public:
  Batch() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      parts_[i] = {packets_[i].data(), kMaxQuestion};
      in_[i].msg_hdr.msg_iov = &parts_[i];
      in_[i].msg_hdr.msg_iovlen = 1;
      in_[i].msg_hdr.msg_name = from_[i].get();
    }
  }

  std::size_t receive(int socket) {
    for (std::size_t i = 0; i < kBatch; ++i) in_[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage);
    const int count = ::recvmmsg(socket, in_.data(), kBatch, MSG_DONTWAIT, nullptr);
    return count < 0 ? 0 : static_cast<std::size_t>(count);
  }
  Bytes packet(std::size_t i) const { return {packets_[i].data(), in_[i].msg_len}; }
  SocketAddress& from(std::size_t i) {
    from_[i].size = in_[i].msg_hdr.msg_namelen;
    return from_[i];
  }

  // Where the next answer belongs, until it is added as that to the `i`th packet.
  std::string& next() { return out_packets_[answers_]; }
  void add(std::size_t i) { to_[answers_++] = i; }
  void send(int socket) {
    for (std::size_t i = 0; i < answers_; ++i) {
      out_parts_[i] = {out_packets_[i].data(), out_packets_[i].size()};
      out_[i].msg_hdr = {};
      out_[i].msg_hdr.msg_iov = &out_parts_[i];
      out_[i].msg_hdr.msg_iovlen = 1;
      out_[i].msg_hdr.msg_name = from_[to_[i]].get();
      out_[i].msg_hdr.msg_namelen = from_[to_[i]].size;
    }
    // One that cannot be sent is lost, as packets are; those after it are not.
    for (std::size_t sent = 0; sent < answers_;) {
      const int count = ::sendmmsg(socket, &out_[sent], static_cast<unsigned>(answers_ - sent),
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
      sent += count > 0 ? static_cast<std::size_t>(count) : 1;
    }
    answers_ = 0;
  }

 private:
  std::array<std::array<std::uint8_t, kMaxQuestion>, kBatch> packets_{};
  std::array<iovec, kBatch> parts_{}, out_parts_{};
  std::array<SocketAddress, kBatch> from_{};
  std::array<std::size_t, kBatch> to_{};
  std::array<mmsghdr, kBatch> in_{}, out_{};
  std::array<std::string, kBatch> out_packets_;
  std::size_t answers_ = 0;
};

UdpSockets::UdpSockets(Responder& responder, std::vector<int> sockets)
    : responder_(responder), sockets_(std::move(sockets)), batch_(std::make_unique<Batch>()) {}

UdpSockets::~UdpSockets() {
  for (const int socket : sockets_) ::close(socket);
}

bool UdpSockets::serve(int socket) {
  const std::size_t count = batch_->receive(socket);
  std::shared_ptr<bool> in_batch;  // made when an answer may come later
  for (std::size_t i = 0; i < count; ++i) {
    const SocketAddress& from = batch_->from(i);
    if (from.port() == 0) continue;
    // The sockets live as long as the loop in which late answers come.
    const auto later = [&]() -> Responder::Send {
      if (!in_batch) in_batch = std::make_shared<bool>(true);
      return [this, i, in_batch, socket, from](const std::string& packet) {
        if (!*in_batch) {
          (void)::sendto(socket, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                         from.get(), from.size);
          return;
        }
        batch_->next() = packet;
        batch_->add(i);
      };
    };
    if (responder_.respond(batch_->packet(i), {from.ip(), from.port(), Transport::Udp},
                           batch_->next(), later))
      batch_->add(i);
  }
  if (in_batch) *in_batch = false;
  batch_->send(socket);
  return count == kBatch;
}

}  // namespace coracle::dns
