#include "resources/resources.h"

#include "resources/kinds.h"

namespace coracle {

std::vector<ResourceKind> all_kinds(const ResourceOptions& options) {
  return {config_map_kind(),
          endpoints_kind(),
          event_kind(),
          namespace_kind(),
          node_kind(),
          pod_kind(options.tolerations),
          secret_kind(),
          service_account_kind(),
          service_kind(options),
          controller_revision_kind(),
          daemon_set_kind(),
          deployment_kind(),
          replica_set_kind(),
          lease_kind(),
          endpoint_slice_kind(),
          self_subject_review_kind(),
          self_subject_access_review_kind(),
          self_subject_rules_review_kind()};
}

}  // namespace coracle
