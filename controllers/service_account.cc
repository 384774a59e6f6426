#include "service_account.h"

#include <nlohmann/json.hpp>

namespace coracle {

Result<Again> ServiceAccountController::reconcile(const ObjectKey& key) {
  const auto ns = namespaces_.get(key);
  if (ns == nullptr || ns->meta.deleting() || accounts_.get({key.name, "default"}) != nullptr)
    return Again{};
  const Object account(Json{{"apiVersion", "v1"},
                            {"kind", "ServiceAccount"},
                            {"metadata", {{"name", "default"}, {"namespace", key.name}}}});
  const auto created = client_.create(resources::kServiceAccounts, account);
  if (created || is_already_exists(created.error()) || is_not_found(created.error()) ||
      created.error().code == Code::Forbidden)
    return Again{};
  return created.error();
}

}  // namespace coracle
