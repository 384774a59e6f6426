// Asks upstream servers: UDP with a random ID from a socket, and so a source port, of its own for
// each try, TCP for what was cut; the next server after silence or an error. A server that seems
// not to take EDNS is asked again at once without it (RFC 6891, 6.2.2 and 7), one that was silent
// when its turn comes again. Nobody waits for
// this: its descriptor belongs into a loop that calls run(). Not thread-safe: one thread, the
// loop's.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dns/message.h"
#include "dns/upstream_health.h"

namespace coracle::dns {

// What a resolver needs of it.
class Upstream {
 public:
  virtual ~Upstream() = default;
  // Unavailable when no server could be asked or none has answered well.
  using Done = std::function<void(Result<Reply>)>;
  // Calls `done` once: at once when there is nobody to ask, else from run().
  virtual void ask(const Question& question, Done done) = 0;
};

struct ForwarderOptions {
  std::chrono::milliseconds try_timeout{800};
  std::chrono::milliseconds tcp_timeout{1500};
  std::size_t tries = 3;           // in all, over all servers; at least one for each of the first 3
  std::size_t max_pending = 1000;  // questions; then Unavailable
  std::size_t max_waiting = 256;   // for the same question
};

class Forwarder final : public Upstream {
 public:
  static Result<std::unique_ptr<Forwarder>> create(const Clock& clock,
                                                   ForwarderOptions options = {});
  ~Forwarder() override;  // what is pending is forgotten
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // From now on. Questions that are pending go on with those they began with.
  void set_servers(const std::vector<UpstreamServer>& servers) { health_.set_servers(servers); }
  // Equal questions that are pending become one: a question that comes back to us in a loop waits
  // for itself, and both fail when the tries are used up.
  void ask(const Question& question, Done done) override;
  // Whether a packet from there was sent by this object: then a server is ourselves.
  bool sent_from(const Ip& ip, Port port) const;

  int fd() const { return epoll_; }  // readable when run() has something to read
  void run();                        // reads what there is and ends what takes too long
  std::optional<std::chrono::steady_clock::time_point> deadline() const;  // of the next run()
  std::size_t pending() const { return pending_.size(); }

 private:
  struct Pending;
  using PendingMap = std::map<int, std::unique_ptr<Pending>>;  // by number
  Forwarder(const Clock& clock, ForwarderOptions options, int epoll);

  void next_try(Pending& pending);
  Result<void> send(Pending& pending);
  void send_plain(Pending& pending);
  Result<void> start_tcp(Pending& pending);
  void read(Pending& pending);
  void read_udp(Pending& pending);
  void go_on_tcp(Pending& pending);
  void take(Pending& pending, Response response);
  void give_up_try(Pending& pending);
  void finish(Pending& pending, const Result<Reply>& result);
  Result<void> watch(Pending& pending, std::uint32_t events);
  void close(Pending& pending);

  const Clock& clock_;
  const ForwarderOptions options_;
  const int epoll_;
  UpstreamHealth health_;
  PendingMap pending_;
  std::map<std::string, int> by_question_;
  int next_number_ = 1;
};

}  // namespace coracle::dns
