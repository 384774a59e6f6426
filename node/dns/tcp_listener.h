// DNS over TCP: many questions on one connection, answered as they become known (RFC 7766). Bounded
// in connections, in questions that wait and in bytes that are not read; silent ones are closed.
// Not thread-safe: one thread, the loop's, calls run() when fd() is readable or deadline() is past.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dns/responder.h"

namespace coracle::dns {

struct TcpLimits {
  std::size_t connections = 200;
  std::size_t of_one_source = 20;
  std::size_t waiting = 32;  // questions of one connection; then it is not read on
  std::size_t unread = std::size_t{256} << 10;  // bytes of answers; then the connection is closed
  std::chrono::seconds silence{10};             // of a connection for which nothing waits
};

class TcpListener {
 public:
  // Takes the listening sockets, which do not block.
  static Result<std::unique_ptr<TcpListener>> create(const Clock& clock, Responder& responder,
                                                     std::vector<int> sockets,
                                                     TcpLimits limits = {});
  ~TcpListener();
  TcpListener(const TcpListener&) = delete;
  TcpListener& operator=(const TcpListener&) = delete;

  int fd() const { return epoll_; }
  void run();
  void stop_accepting();  // new connections wait in the sockets
  std::optional<std::chrono::steady_clock::time_point> deadline() const;
  std::size_t connections() const { return connections_.size(); }

 private:
  struct Connection;
  TcpListener(const Clock& clock, Responder& responder, int epoll, TcpLimits limits);

  void accept(int socket);
  bool make_room(const Ip& source);
  void serve(int number, std::uint32_t events);
  bool read(Connection& connection);
  void take_questions(int number);
  void answer(int number, const std::string& packet);
  bool write(Connection& connection);
  void follow(Connection& connection) const;
  void close(int number);

  const Clock& clock_;
  Responder& responder_;
  const int epoll_;
  const TcpLimits limits_;
  std::vector<int> sockets_;
  // By number, from 1000 on: smaller ones are sockets.
  std::map<int, std::unique_ptr<Connection>> connections_;
  int next_number_ = 1000;
};

}  // namespace coracle::dns
