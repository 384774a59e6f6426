#include "pods/image_name.h"

#include <algorithm>

namespace coracle::pods {
namespace {

constexpr const char* kInvalid = "invalid reference format";
constexpr std::size_t kLongestTag = 128;

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_word(char c) {
  return is_lower_or_digit(c) || is_upper(c) || c == '_';
}

// Letters and digits, with ".", "_", "__" or dashes between them.
bool is_component(std::string_view text) {
  if (text.empty() || !is_lower_or_digit(text.front()) || !is_lower_or_digit(text.back()))
    return false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    while (at < text.size() && !is_lower_or_digit(text[at])) ++at;
    const std::string_view between = text.substr(begin, at - begin);
    const bool dashes = between.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && between != "." && between != "_" && between != "__") return false;
    while (at < text.size() && is_lower_or_digit(text[at])) ++at;
  }
  return true;
}

bool is_path(std::string_view text) {
  for (;;) {
    const std::size_t slash = text.find('/');
    if (!is_component(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool is_tag(std::string_view text) {
  return !text.empty() && text.size() <= kLongestTag && is_word(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

// "sha256:" and 32 or more hexadecimal digits.
bool is_digest(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos || text.size() - colon - 1 < 32) return false;
  const auto hex = text.substr(colon + 1);
  return std::all_of(hex.begin(), hex.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
}

// A host, where there is one: what stands before the first slash and could be no repository.
bool is_registry(std::string_view text) {
  return text.find_first_of(".:") != std::string_view::npos || text == "localhost" ||
         std::any_of(text.begin(), text.end(), is_upper);
}

bool is_host(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const std::string_view host = text.substr(0, colon);
  const bool port_good =
      colon == std::string_view::npos ||
      (colon + 1 < text.size() &&
       text.find_first_not_of("0123456789", colon + 1) == std::string_view::npos);
  if (!port_good || host.empty()) return false;
  if (host.front() == '[')
    return host.back() == ']' &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdefABCDEF:") ==
               std::string_view::npos;
  return host.front() != '.' && host.back() != '.' && host.front() != '-' && host.back() != '-' &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return (is_word(c) && c != '_') || c == '.' || c == '-'; });
}

}  // namespace

std::string image_name_problem(std::string_view image) {
  if (const std::size_t at = image.find('@'); at != std::string_view::npos) {
    if (!is_digest(image.substr(at + 1))) return kInvalid;
    image = image.substr(0, at);
  }
  std::string_view path = image;
  const std::size_t slash = image.find('/');
  const bool hosted = slash != std::string_view::npos && is_registry(image.substr(0, slash));
  if (hosted) {
    if (!is_host(image.substr(0, slash))) return kInvalid;
    path = image.substr(slash + 1);
  }
  if (const std::size_t colon = path.rfind(':'); colon != std::string_view::npos) {
    if (!is_tag(path.substr(colon + 1))) return kInvalid;
    path = path.substr(0, colon);
  }
  if (is_path(path)) return "";
  std::string lower(path);
  for (char& c : lower)
    if (is_upper(c)) c = static_cast<char>(c - 'A' + 'a');
  if (lower == path || !is_path(lower)) return kInvalid;
  const bool official = !hosted && path.find('/') == std::string_view::npos;
  return std::string(kInvalid) + ": repository name (" + (official ? "library/" : "") +
         std::string(path) + ") must be lowercase";
}

}  // namespace coracle::pods
