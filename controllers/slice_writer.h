// Carries a SlicePlan out for one owner.
#pragma once

#include <coracle/api/endpoint_slice.h>
#include <coracle/client.h>
#include <coracle/informer.h>

#include <map>
#include <string>

#include "slice_plan.h"

namespace coracle {

struct SliceOwner {
  OwnerReference reference;
  std::string ns, service;
  std::string managed_by;
  std::map<std::string, std::string> labels;  // of the slices, all
  std::map<std::string, std::string> annotations;
};

using SlicePtr = std::shared_ptr<const EndpointSlice>;

// What was written, until the cache shows it: a plan made from an older cache would make slices
// twice.
class WrittenSlices {
 public:
  void add(const Object& written) { revisions_[written.key()] = written.revision(); }
  bool shown_by(const Informer<EndpointSlice>& slices);
  // With the queue's back-off ten questions take five seconds.
  bool asked_too_often() { return ++asked_ > 10; }

 private:
  std::map<ObjectKey, Revision> revisions_;
  int asked_ = 0;
};

// Makes the owner's slices what is desired, one write at most for each that differs. Conflict: the
// cache lagged behind, try again.
Result<void> write_slices(Client& client, const SliceOwner& owner,
                          const std::vector<SlicePtr>& existing,
                          const std::vector<EndpointGroup>& desired, WrittenSlices& written);
Result<void> remove_slices(Client& client, const std::vector<SlicePtr>& slices);

}  // namespace coracle
