#include <coracle/api/lease.h>

#include <nlohmann/json.hpp>

namespace coracle {

Result<Lease> Lease::decode(const Object& object) {
  return Lease{object.meta(), json_string(object.json(), {"spec", "renewTime"})};
}

}  // namespace coracle
