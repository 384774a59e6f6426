// One node's connection, at the server's end: an HTTP/2 client. Used by the hub's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "desk.h"
#include "session.h"
#include "tunnel_hub.h"

namespace coracle::tunnel {

class Connection {
 public:
  Connection(std::unique_ptr<TunnelPeer> peer, std::string node);
  ~Connection();  // what is under way breaks
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const std::string& node() const { return node_; }
  int fd() const { return peer_->fd(); }

  // False, as of those below: the connection is of no use any more.
  bool receive();
  bool send() { return pump_.send(session_.get()); }
  bool blocked() const { return pump_.blocked(); }
  bool more() const { return pump_.more(); }

  // Begins the exchange. False: it cannot.
  bool ask(const std::shared_ptr<Exchange>& exchange);
  // Lets the node send what the reader of an exchange has made room for, or ends it.
  void look(Exchange& exchange);

  using Time = std::chrono::steady_clock::time_point;
  // When to call ping() next.
  Time due(std::chrono::milliseconds after, std::chrono::milliseconds timeout) const;
  // Asks for a sign of life. False: the last time it was asked, none came.
  bool ping();

 private:
  static int on_header(nghttp2_session* session, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                       nghttp2_rcbuf* value, std::uint8_t flags, void* self);
  static int on_data(nghttp2_session* session, std::uint8_t flags, std::int32_t id,
                     const std::uint8_t* bytes, std::size_t size, void* self);
  static int on_close(nghttp2_session* session, std::int32_t id, std::uint32_t code, void* self);
  Exchange* find(std::int32_t id) const;

  const std::unique_ptr<TunnelPeer> peer_;
  const std::string node_;
  Pump pump_;
  Session session_;
  std::map<std::int32_t, std::shared_ptr<Exchange>> exchanges_;
  Time heard_;
  Time asked_{};  // for a sign of life; before heard_: it came
};

}  // namespace coracle::tunnel
