// The later pages of limited lists. A first page freezes what follows it (shared pointers, no
// copies), so that all pages are one state; a bounded number of such lists is kept for a few
// minutes.
#pragma once

#include <coracle/mutex.h>
#include <coracle/result.h>
#include <coracle/store.h>

#include <chrono>
#include <list>
#include <string>
#include <vector>

namespace coracle {

constexpr Revision kNewest = -1;  // in a token: whatever is the newest when it is used

struct ContinueToken {
  Revision revision = 0;
  std::string last_key;
};
// Opaque and URL-safe. Decoding: BadRequest for anything that encode did not make.
std::string encode_continue(const ContinueToken& token);
Result<ContinueToken> decode_continue(const std::string& text);
// The token that goes on where this one does, at the newest revision. "" for a malformed one.
std::string inconsistent_continuation(const std::string& text);

class PageCache {
 public:
  using Entries = std::shared_ptr<const std::vector<EntryPtr>>;
  // `query` names the list (prefix and selectors), so that a token cannot be used on another one.
  void put(const std::string& query, Revision revision, Entries entries,
           std::chrono::steady_clock::time_point now);
  // nullptr when it was dropped.
  Entries get(const std::string& query, Revision revision,
              std::chrono::steady_clock::time_point now);

 private:
  struct Snapshot {
    std::string query;
    Revision revision;
    Entries entries;
    std::chrono::steady_clock::time_point expires;
  };
  Mutex mutex_;
  std::list<Snapshot> snapshots_ CORACLE_GUARDED_BY(mutex_);  // newest first
};

}  // namespace coracle
