// From a question to its answer: the zone, the cache, the upstream servers, and the search path
// that a Pod's resolver would walk, walked here in one go. Records of one kind come in turn,
// whoever knows them: each time that the same is asked, another one is the first. No sockets, no
// waiting; one thread, that of the Upstream.
#pragma once

#include <coracle/clock.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dns/cache.h"
#include "dns/message.h"
#include "dns/upstream.h"
#include "dns/zone.h"

namespace coracle::dns {

struct ResolverCounters {
  std::uint64_t zone = 0;          // answered from the cluster's names
  std::uint64_t searched = 0;      // of these, along the search path
  std::uint64_t cache_hits = 0;    // fresh
  std::uint64_t cache_misses = 0;  // asked upstream before the answer
  std::uint64_t prefetches = 0;    // asked upstream after it
  std::uint64_t stale = 0;         // answered with what had ended, as upstream was gone
  std::uint64_t upstream_failures = 0;
};

class Resolver {
 public:
  using Done = std::function<void(const Reply&)>;

  Resolver(const Clock& clock, Upstream& upstream, CacheOptions cache = {})
      : clock_(clock), upstream_(upstream), cache_(cache) {}

  // The cluster's names from now on. `synced`: it holds all that there is; until then names of the
  // cluster get SERVFAIL, as "there is no such name" would be remembered.
  void set_zone(std::shared_ptr<const Zone> zone, bool synced);
  // The domains that the node's resolv.conf searches, which Pods search after the cluster's.
  void set_host_search(std::vector<Name> domains) { host_search_ = std::move(domains); }
  // Other upstream servers may say other things.
  void forget() { cache_.clear(); }

  // The answer where the cluster's names alone give it, as they do to most questions: resolve()
  // would say the same. Nothing for others.
  std::optional<Reply> known(const Question& question, const std::string& pod_namespace);

  // Calls `done` once, at once or later. `pod_namespace`: of the Pod that asks; "": no Pod, or none
  // whose search path is known.
  //
  // A Pod's resolver turns "x" into "x.<ns>.svc.<zone>" first. Where there is no such name, the
  // rest of its search path is tried here: the first name of it that exists is the answer, through
  // an alias. When none exists, or upstream fails, the answer is that to the literal question.
  void resolve(const Question& question, const std::string& pod_namespace, const Done& done);

  const ResolverCounters& counters() const { return counters_; }

 private:
  struct Search;  // a walk along the search path that waits for upstream
  void resolve_zone(const Question& question, const std::string& pod_namespace, const Done& done);
  void finish_zone(const Question& question, ZoneAnswer answer, const Done& done);
  bool search(const Question& question, const std::string& pod_namespace, const Reply& literal,
              const Done& done);
  bool search_zone(const Question& question, std::string_view below, const Done& done);
  void search_outside(const std::shared_ptr<Search>& search);
  void take_outside(const std::shared_ptr<Search>& search, const Name& candidate,
                    const Result<Reply>& reply);
  // A name outside of the cluster. The error says that nobody knows.
  using Outside = std::function<void(const Result<Reply>&)>;
  void resolve_outside(const Question& question, const Outside& done);
  void fetch(const Question& question, const Outside& done);
  Reply in_turn(const Question& question, Reply reply);
  std::uint32_t& turn_of(const Question& question);

  const Clock& clock_;
  Upstream& upstream_;
  Cache cache_;
  std::shared_ptr<const Zone> zone_;
  bool synced_ = false;
  std::vector<Name> host_search_;
  // Of each question its own, as far as so few suffice: one that all shared would go on by two
  // between questions for A and AAAA, and of two addresses the same would always be the first.
  std::array<std::uint32_t, 256> turns_{};
  ResolverCounters counters_;
};

}  // namespace coracle::dns
