// Answers as bytes.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "http_server.h"
#include "stream_loop.h"

namespace coracle {

// Status line and headers up to the empty line. `framing`: whole header lines that say how the body
// is delimited. What came from a client cannot begin a header of its own.
std::string head_of(const HttpResponse& response, const std::string& framing, bool close);

// What is left of answers whose clients are slow to read them. Thread-safe; outlives its streams.
class SlowAnswers {
 public:
  // A stream, not chunked. Null when slow clients hold too much memory already: this one has to ask
  // again.
  std::shared_ptr<StreamSource> stream(std::string rest);

 private:
  std::atomic<std::size_t> waiting_{0};  // bytes
};

}  // namespace coracle
