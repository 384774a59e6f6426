#include "dns/name.h"

#include <algorithm>
#include <cstdio>

namespace coracle::dns {
namespace {

std::size_t length_at(std::string_view wire, std::size_t at) {
  return static_cast<unsigned char>(wire[at]);
}

}  // namespace

std::string folded(std::string_view bytes) {
  // Lengths are at most 63, and so no letters.
  std::string out(bytes);
  std::transform(out.begin(), out.end(), out.begin(), fold);
  return out;
}

Result<Name> Name::parse(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  std::string wire;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('.'), text.size());
    if (end == 0 || end > kMaxLabel || end + 1 == text.size())
      return Error{Code::BadRequest, "a label of a domain name has 1 to 63 characters"};
    wire += wire_label(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  wire += '\0';
  if (wire.size() > kMaxName) return Error{Code::BadRequest, "a domain name has at most 255 bytes"};
  return Name(folded(wire));
}

void Name::assign_wire(std::string_view wire) {
  wire_.resize(wire.size());
  std::transform(wire.begin(), wire.end(), wire_.begin(), fold);
}

std::size_t Name::label_count() const {
  std::size_t count = 0;
  for (std::size_t at = 0; length_at(wire_, at) != 0; at += length_at(wire_, at) + 1) ++count;
  return count;
}

bool Name::is_under(const Name& ancestor) const {
  if (!wire().ends_with(ancestor.wire())) return false;
  const std::size_t boundary = wire_.size() - ancestor.wire_.size();
  std::size_t at = 0;
  while (at < boundary) at += length_at(wire_, at) + 1;
  return at == boundary;
}

Result<Name> Name::with_prefix(std::string_view labels) const {
  if (labels.size() + wire_.size() > kMaxName)
    return Error{Code::BadRequest, "a domain name has at most 255 bytes"};
  return Name(folded(labels) + wire_);
}

std::string Name::to_string() const {
  if (is_root()) return ".";
  std::string out;
  for (std::size_t at = 0; length_at(wire_, at) != 0; at += length_at(wire_, at) + 1) {
    for (const char c : wire().substr(at + 1, length_at(wire_, at))) {
      const auto byte = static_cast<unsigned char>(c);
      char escaped[5] = {c};
      if (byte <= ' ' || byte >= 127 || c == '.' || c == '\\')
        (void)std::snprintf(escaped, sizeof(escaped), "\\%03u", static_cast<unsigned>(byte));
      out += escaped;
    }
    out += '.';
  }
  return out;
}

std::string wire_label(std::string_view label) {
  std::string out(1, static_cast<char>(label.size()));
  return out.append(label);
}

std::size_t name_size(Bytes bytes, std::size_t at) {
  const std::size_t begin = at;
  while (at < bytes.size() && at - begin < kMaxName) {
    const std::size_t length = bytes[at];
    if (length > kMaxLabel) return 0;
    ++at;
    if (length == 0) return at - begin;
    at += length;
  }
  return 0;
}

}  // namespace coracle::dns
