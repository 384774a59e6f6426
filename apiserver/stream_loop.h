// Responses that go on and on: one thread serves all of them without ever waiting for one, so that
// a watch costs its buffers and no thread.
#pragma once

#include <coracle/result.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "http_tls.h"

namespace coracle {

// A body that is made as its bytes come to be. Called by one thread, never concurrently.
class StreamSource {
 public:
  virtual ~StreamSource() = default;
  // Once, before anything else. `wake` brings a call of produce soon; any thread may call it until
  // the source is destroyed, holding locks that produce takes only elsewhere.
  virtual void start(std::function<void()> wake) = 0;
  // Appends what there is by now, and stops soon after `room` bytes. Never waits. False: these were
  // the last.
  virtual bool produce(std::string& out, std::size_t room) = 0;
  // When produce has something to say even if nothing wakes it.
  virtual std::chrono::steady_clock::time_point due() const = 0;
  // After the last bytes: there should have been more, and the client shall see that.
  virtual bool broken() const { return false; }
  // A client may take nothing for as long as it is there: somebody reads in a pager.
  virtual bool patient() const { return false; }
};

class StreamLoop {
 public:
  // A client that takes nothing for `write_timeout` is cut off, unless its source is patient.
  // Internal: no descriptors left.
  static Result<std::unique_ptr<StreamLoop>> create(std::chrono::milliseconds write_timeout);
  virtual ~StreamLoop() = default;
  // Serves the stream to its end or the client's. `chunked`: framed as HTTP/1.1 says (RFC 9112
  // section 7.1), else ended by closing. Thread-safe.
  virtual void add(TlsSocket socket, std::shared_ptr<StreamSource> source, bool chunked) = 0;
  // How many streams there are. Thread-safe.
  virtual std::size_t size() const = 0;
  // Ends every stream; later ones are closed at once. Idempotent.
  virtual void stop() = 0;
};

}  // namespace coracle
