// The history of a DaemonSet: a ControllerRevision for every template that it had, which
// `kubectl rollout history` and `undo` read.
#pragma once

#include <coracle/api/apps.h>
#include <coracle/client.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "workload.h"

namespace coracle {

inline constexpr const char* kRevisionHashLabel = "controller-revision-hash";

using RevisionPtr = std::shared_ptr<const ControllerRevision>;

// What a revision of the set's template holds.
Json revision_data(const DaemonSet& set);

struct HistoryPlan {
  RevisionPtr current;           // of the set's template; null: not made yet
  std::int64_t revision = 1;     // that it has, or is to have
  std::vector<RevisionPtr> old;  // oldest first
};
// Pure. `owned`: the set's revisions. A template that comes back becomes the newest again.
HistoryPlan compute_history(const DaemonSet& set, const std::vector<RevisionPtr>& owned);
// Pure. Those of the old revisions beyond the limit, oldest first, that no Pod is of: `in_use` are
// the Pods' hashes.
std::vector<RevisionPtr> outlived(const DaemonSet& set, const HistoryPlan& plan,
                                  const std::set<std::string>& in_use);

// Carries it out. Used by one thread.
class DaemonHistory {
 public:
  explicit DaemonHistory(Client& client) : client_(client) {}
  // Makes the set's newest template its newest revision. `hash`: of the revision, which its Pods
  // bear. Conflict: to be tried again, when another has the name; then the collision count has been
  // raised.
  struct Kept {
    HistoryPlan plan;
    std::string hash;
  };
  Result<Kept> keep(const DaemonSet& set);
  Result<void> trim(const DaemonSet& set, const HistoryPlan& plan,
                    const std::set<std::string>& in_use);

 private:
  Result<std::vector<RevisionPtr>> owned(const DaemonSet& set);
  Result<std::string> create(const DaemonSet& set, std::int64_t revision);
  Result<void> resolve_taken_name(const DaemonSet& set, const Object& wanted);

  Client& client_;
};

}  // namespace coracle
