// Where objects lie in the store, and the stamp that gives an object's text its resourceVersion.
#include <algorithm>
#include <cstddef>

#include "registry.h"

namespace coracle {
namespace {

std::string kind_prefix(const Resource& resource) {
  return "/" + (resource.group.empty() ? std::string("core") : resource.group) + "/" +
         resource.plural + "/";
}

// Walks compact or spaced JSON without building a document. The text is our own encoder's, so a
// malformed one only has to be harmless: every step stops at the end.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::size_t position() const { return at_; }
  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  void advance() { ++at_; }
  void skip_space() {
    while (!done() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  // At an opening quote: the raw text between the quotes.
  std::string_view take_string() {
    const std::size_t start = std::min(at_ + 1, text_.size());
    at_ = start;
    while (!done() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    const std::size_t end = std::min(at_, text_.size());
    at_ = std::min(end + 1, text_.size());
    return text_.substr(start, end - start);
  }
  void skip_value() {
    int depth = 0;
    while (!done()) {
      const char c = text_[at_];
      if (c == '"') {
        take_string();
        if (depth == 0) return;
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') {
        if (depth == 0) return;  // the end of the object around a bare value
        --depth;
        ++at_;
        if (depth == 0) return;
        continue;
      }
      if (depth == 0 && c == ',') return;
      ++at_;
    }
  }
  // Inside an object, just after its brace: moves to the value of the member, or false at the
  // closing brace.
  bool find_member(std::string_view name) {
    while (true) {
      skip_space();
      if (peek() != '"') return false;
      const std::string_view key = take_string();
      skip_space();
      if (peek() != ':') return false;
      advance();
      skip_space();
      if (key == name) return true;
      skip_value();
      skip_space();
      if (peek() != ',') return false;
      advance();
    }
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

std::string splice(std::string_view text, std::size_t from, std::size_t to,
                   const std::string& insert) {
  std::string out;
  out.reserve(text.size() + insert.size());
  out.append(text.substr(0, from)).append(insert).append(text.substr(to));
  return out;
}

bool object_is_empty(std::string_view text, std::size_t after_brace) {
  Scanner rest(text.substr(after_brace));
  rest.skip_space();
  return rest.peek() == '}';
}

}  // namespace

std::string storage_key(const Resource& resource, const ObjectKey& key) {
  return storage_prefix(resource, resource.namespaced ? key.ns : "") + key.name;
}

std::string storage_prefix(const Resource& resource, const std::string& ns) {
  std::string prefix = kind_prefix(resource);
  if (resource.namespaced && !ns.empty()) prefix += ns + "/";
  return prefix;
}

std::string stamp_resource_version(std::string_view object, Revision revision) {
  const std::string value = "\"" + std::to_string(revision) + "\"";
  Scanner scan(object);
  scan.skip_space();
  if (scan.peek() != '{') return std::string(object);
  scan.advance();
  const std::size_t body = scan.position();
  if (!scan.find_member("metadata") || scan.peek() != '{') {
    const std::string member = "\"metadata\":{\"resourceVersion\":" + value + "}";
    return splice(object, body, body, member + (object_is_empty(object, body) ? "" : ","));
  }
  scan.advance();
  const std::size_t metadata = scan.position();
  if (!scan.find_member("resourceVersion")) {
    const std::string member = "\"resourceVersion\":" + value;
    return splice(object, metadata, metadata,
                  member + (object_is_empty(object, metadata) ? "" : ","));
  }
  const std::size_t from = scan.position();
  scan.skip_value();
  return splice(object, from, scan.position(), value);
}

}  // namespace coracle
