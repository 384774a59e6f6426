#include "connection.h"

#include <cstdlib>
#include <iterator>
#include <utility>

namespace coracle::tunnel {
namespace {

using std::chrono::steady_clock;

}  // namespace

Connection::Connection(std::unique_ptr<TunnelPeer> peer, std::string node)
    : peer_(std::move(peer)), node_(std::move(node)), pump_(*peer_), heard_(steady_clock::now()) {
  const Callbacks callbacks = make_callbacks();
  nghttp2_session_callbacks_set_on_header_callback2(callbacks.get(), on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks.get(), on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks.get(), on_close);
  const SessionOptions option = make_session_options();
  nghttp2_option_set_no_auto_window_update(option.get(), 1);
  nghttp2_option_set_peer_max_concurrent_streams(option.get(), kMaxStreams);
  nghttp2_session* session = nullptr;
  nghttp2_session_client_new2(&session, callbacks.get(), this,
                              option.get());  // fails for want of memory only
  session_.reset(session);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                             {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow}};
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

Connection::~Connection() {
  for (const auto& [id, exchange] : exchanges_) exchange->end(false);
}

bool Connection::receive() {
  heard_ = steady_clock::now();
  return pump_.receive(session_.get());
}

Exchange* Connection::find(std::int32_t id) const {
  const auto it = exchanges_.find(id);
  return it == exchanges_.end() ? nullptr : it->second.get();
}

bool Connection::ask(const std::shared_ptr<Exchange>& exchange) {
  Fields head;
  head.add(":method", "GET");
  head.add(":scheme", "https");
  head.add(":authority", node_);
  head.add(":path", exchange->request.path);
  if (!exchange->request.options.empty()) head.add(kOptionsHeader, exchange->request.options);
  const auto fields = head.list();
  exchange->stream = nghttp2_submit_request(session_.get(), nullptr, fields.data(), fields.size(),
                                            nullptr, nullptr);
  if (exchange->stream < 0) return false;
  exchanges_[exchange->stream] = exchange;
  return true;
}

void Connection::look(Exchange& exchange) {
  std::size_t taken = 0;
  bool closed = false;
  {
    const MutexLock lock(exchange.mutex);
    taken = std::exchange(exchange.taken, 0);
    closed = exchange.closed;
  }
  if (find(exchange.stream) != &exchange) return;  // it is over
  if (closed)
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, exchange.stream, NGHTTP2_CANCEL);
  else if (taken > 0)
    nghttp2_session_consume_stream(session_.get(), exchange.stream, taken);
}

Connection::Time Connection::due(std::chrono::milliseconds after,
                                 std::chrono::milliseconds timeout) const {
  return asked_ > heard_ ? asked_ + timeout : heard_ + after;
}

bool Connection::ping() {
  if (asked_ > heard_) return false;
  asked_ = steady_clock::now();
  nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, nullptr);
  return true;
}

int Connection::on_header(nghttp2_session* /*session*/, const nghttp2_frame* frame,
                          nghttp2_rcbuf* name, nghttp2_rcbuf* value, std::uint8_t /*flags*/,
                          void* self) {
  Exchange* exchange = static_cast<Connection*>(self)->find(frame->hd.stream_id);
  if (exchange == nullptr || text_of(name) != ":status") return 0;
  const std::string status(text_of(value));
  exchange->answer(static_cast<int>(std::strtol(status.c_str(), nullptr, 10)));
  return 0;
}

int Connection::on_data(nghttp2_session* session, std::uint8_t /*flags*/, std::int32_t id,
                        const std::uint8_t* bytes, std::size_t size, void* self) {
  // A stream's reader makes room in its own window, not in the others'.
  nghttp2_session_consume_connection(session, size);
  Exchange* exchange = static_cast<Connection*>(self)->find(id);
  if (exchange != nullptr) exchange->add(reinterpret_cast<const char*>(bytes), size);  // NOLINT
  return 0;
}

int Connection::on_close(nghttp2_session* /*session*/, std::int32_t id, std::uint32_t code,
                         void* self) {
  auto& exchanges = static_cast<Connection*>(self)->exchanges_;
  const auto it = exchanges.find(id);
  if (it == exchanges.end()) return 0;
  it->second->end(code == NGHTTP2_NO_ERROR);
  exchanges.erase(it);
  return 0;
}

}  // namespace coracle::tunnel
