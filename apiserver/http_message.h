// What http_server.cc needs to know about messages. Pure; no civetweb.
#pragma once

#include <string>
#include <string_view>

#include "http_server.h"

namespace coracle {

bool same_name(std::string_view a, std::string_view b);  // header names: any case

struct Framing {
  bool chunked = false;
  std::size_t length = 0;
};
// How the body is delimited. BadRequest when that is ambiguous, TooLarge beyond the limit.
Result<Framing> framing_of(const HttpRequest& request, std::size_t max_body);

// "" when it cannot be done: no compression is better than a failed answer.
std::string gzip(const std::string& text);
// What gzip() made, back again. Only for what this process packed itself: the size has no limit.
std::string gunzip(const std::string& packed);
// The client can unpack gzip.
bool accepts_gzip(const HttpRequest& request);

// civetweb's threads have small stacks, and what works on a document recurses into it. True when
// the body may nest deeper than such a stack is good for: it is then handled on a thread with a big
// one. Errs towards true.
bool may_nest_deeply(const HttpRequest& request);

}  // namespace coracle
