#include "registry_pages.h"

#include <array>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

constexpr std::size_t kMostSnapshots = 32;
constexpr std::chrono::minutes kSnapshotLife{5};
constexpr std::size_t kLongestToken = 4096;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string base64url(const std::string& bytes) {
  std::string out;
  unsigned buffer = 0;
  int bits = 0;
  for (const char c : bytes) {
    buffer = (buffer << 8U) | static_cast<unsigned char>(c);
    for (bits += 8; bits >= 6; bits -= 6)
      out += kAlphabet[(buffer >> static_cast<unsigned>(bits - 6)) & 63U];
  }
  if (bits > 0) out += kAlphabet[(buffer << static_cast<unsigned>(6 - bits)) & 63U];
  return out;
}

// False on a character outside the alphabet.
bool from_base64url(const std::string& text, std::string& out) {
  unsigned buffer = 0;
  int bits = 0;
  for (const char c : text) {
    const std::size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return false;
    buffer = (buffer << 6U) | static_cast<unsigned>(value);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>((buffer >> static_cast<unsigned>(bits)) & 255U);
  }
  return true;
}

}  // namespace

std::string encode_continue(const ContinueToken& token) {
  const Json document = {{"v", 1}, {"rv", token.revision}, {"start", token.last_key}};
  return base64url(document.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Result<ContinueToken> decode_continue(const std::string& text) {
  const Error bad{Code::BadRequest, "continue key is not valid"};
  std::string bytes;
  if (text.size() > kLongestToken || !from_base64url(text, bytes)) return bad;
  const Json document = Json::parse(bytes, nullptr, false);
  if (!document.is_object() || json_int(document, {"v"}) != 1) return bad;
  ContinueToken token{json_int(document, {"rv"}), json_string(document, {"start"})};
  const bool dated = token.revision > 0 || token.revision == kNewest;
  if (!dated || token.last_key.empty()) return bad;
  return token;
}

std::string inconsistent_continuation(const std::string& text) {
  const auto token = decode_continue(text);
  return token ? encode_continue({kNewest, token->last_key}) : "";
}

void PageCache::put(const std::string& query, Revision revision, Entries entries,
                    std::chrono::steady_clock::time_point now) {
  MutexLock lock(mutex_);
  snapshots_.remove_if([&](const Snapshot& s) {
    return s.expires <= now || (s.revision == revision && s.query == query);
  });
  snapshots_.push_front({query, revision, std::move(entries), now + kSnapshotLife});
  if (snapshots_.size() > kMostSnapshots) snapshots_.pop_back();
}

PageCache::Entries PageCache::get(const std::string& query, Revision revision,
                                  std::chrono::steady_clock::time_point now) {
  MutexLock lock(mutex_);
  for (const Snapshot& s : snapshots_)
    if (s.revision == revision && s.query == query && s.expires > now) return s.entries;
  return nullptr;
}

}  // namespace coracle
