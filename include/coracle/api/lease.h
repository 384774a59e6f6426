// Lease (coordination.k8s.io/v1): a node's sign of life.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <string>

namespace coracle {

struct Lease {
  Meta meta;
  std::string renew_time;  // by its holder's clock: only that it changes means something here
  // Members of a wrong type read as absent.
  static Result<Lease> decode(const Object& object);
};

}  // namespace coracle
