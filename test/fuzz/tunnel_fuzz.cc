// Both ends of a node's tunnel, each against another end that says what it likes.
#include <coracle/tunnel.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "apiserver/tunnel/connection.h"
#include "targets.h"

namespace coracle::fuzz {
namespace {

constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Says the bytes, in pieces, and is gone then; hears everything.
class Scripted final : public TunnelPeer {
 public:
  explicit Scripted(std::string bytes) : bytes_(std::move(bytes)), fd_(eventfd(1, EFD_CLOEXEC)) {}
  Scripted(const Scripted&) = delete;
  Scripted& operator=(const Scripted&) = delete;
  ~Scripted() override { close(fd_); }
  int fd() const override { return fd_; }  // always readable
  Moved read(char* into, std::size_t size) override {
    if (at_ == bytes_.size()) return {Step::Broken, 0};
    if (std::exchange(pause_, !pause_)) return {Step::WantsRead, 0};
    const std::size_t taken = bytes_.copy(into, std::min<std::size_t>(size, 100), at_);
    at_ += taken;
    return {Step::Done, taken};
  }
  Moved write(std::string_view bytes) override { return {Step::Done, bytes.size()}; }
  Step shake_hands() override { return Step::Done; }
  Result<std::string> node() const override { return std::string("node"); }

 private:
  const std::string bytes_;
  const int fd_;
  std::size_t at_ = 0;
  bool pause_ = false;
};

// The server's end: what a node answers to two requests.
void fuzz_server_end(std::string_view text) {
  const auto first = std::make_shared<tunnel::Exchange>("node", TunnelRequest{"/v1/logs", "{}"});
  const auto second = std::make_shared<tunnel::Exchange>("node", TunnelRequest{"/v1/logs", ""});
  {
    tunnel::Connection connection(std::make_unique<Scripted>(std::string(text)), "node");
    require(connection.ask(first) && connection.ask(second), "a new connection can be asked");
    for (bool good = connection.send(); good;) {
      good = connection.receive() && connection.send();
      connection.look(*first);
    }
  }
  for (const auto& exchange : {first, second}) {
    const MutexLock lock(exchange->mutex);
    require(exchange->ended, "with its connection, an exchange has ended");
    require(exchange->body.size() <= text.size(), "nothing is made up");
    require(exchange->broken || exchange->status != 0, "what is whole has a status");
  }
}

class Echo final : public TunnelSource {
 public:
  explicit Echo(std::string text) : text_(std::move(text)) {}
  void start(std::function<void()> wake) override { wake(); }
  State produce(std::string& out, std::size_t room) override {
    out += text_.substr(0, room);
    return State::End;
  }

 private:
  const std::string text_;
};

// The node's end: what the server asks of it.
void fuzz_node_end(std::string_view text) {
  std::promise<void> over;
  int connections = 0;
  TunnelEnd::Options options;
  options.connect = [&](const std::stop_token&) -> Result<std::unique_ptr<ByteStream>> {
    if (++connections == 2) over.set_value();
    if (connections > 1) return Error{Code::Unavailable, "no more"};
    return std::unique_ptr<ByteStream>(
        std::make_unique<Scripted>(std::string(kMagic).append(text)));
  };
  options.serve = [&](const TunnelRequest& request) -> Result<std::unique_ptr<TunnelSource>> {
    require(request.options.size() <= std::size_t{64} * 1024, "options are short");
    if (request.path != "/v1/logs") return Error{Code::NotFound, "there is only /v1/logs"};
    return std::unique_ptr<TunnelSource>(std::make_unique<Echo>(request.options));
  };
  options.retry_min = std::chrono::milliseconds(0);
  auto end = TunnelEnd::create(std::move(options));
  require(end.has_value(), "descriptors are left");
  (*end)->start();
  over.get_future().wait();
  (*end)->stop();
}

}  // namespace

void fuzz_tunnel(Input input) {
  std::string_view text = text_of(input);
  if (take_choice(text, 2) == 0)
    fuzz_server_end(text);
  else
    fuzz_node_end(text);
}

}  // namespace coracle::fuzz
