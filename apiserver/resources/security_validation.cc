// What securityContexts, lifecycle hooks and resource limits must satisfy, after upstream's
// ValidateSecurityContext, validatePodSpecSecurityContext and validateLifecycle.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr std::int64_t kLargestId = 2147483647;

void check_id(const Json& id, const std::string& field, FieldErrors& errors) {
  if (!id.is_number_integer()) return;
  const auto value = id.get<std::int64_t>();
  if (value < 0 || value > kLargestId)
    errors.invalid(field, id, "must be between 0 and 2147483647, inclusive");
}

void check_ids(const Json& context, const std::string& path, FieldErrors& errors) {
  for (const char* key : {"runAsUser", "runAsGroup", "fsGroup"})
    if (has(context, key)) check_id(context.at(key), path + "." + key, errors);
}

void check_choice(const Json& holder, const char* key, const std::string& field,
                  const std::vector<std::string>& supported, FieldErrors& errors) {
  if (!unset(holder, key)) check_one_of(holder, key, field, supported, errors);
}

void check_profile(const Json& context, const char* key, const std::string& context_path,
                   FieldErrors& errors) {
  if (!has(context, key)) return;
  const Json& profile = context.at(key);
  const std::string path = context_path + "." + key;
  if (unset(profile, "type"))
    errors.required(path + ".type", "type is required when " + std::string(key) + " is set");
  check_choice(profile, "type", path + ".type", {"Localhost", "RuntimeDefault", "Unconfined"},
               errors);
  const bool local = text_in(profile, "type") == "Localhost";
  if (local && unset(profile, "localhostProfile"))
    errors.required(path + ".localhostProfile",
                    std::string("must be set when ") +
                        (std::string(key) == "seccompProfile" ? "seccomp" : "AppArmor") +
                        " type is Localhost");
  if (!local && !unset(profile, "localhostProfile"))
    errors.invalid(path + ".localhostProfile", profile.at("localhostProfile"),
                   "can only be set when type is Localhost");
}

void check_escalation(const Json& context, const std::string& path, FieldErrors& errors) {
  if (!has(context, "allowPrivilegeEscalation") || context.at("allowPrivilegeEscalation") != false)
    return;
  if (json_bool(context, {"privileged"}))
    errors.invalid(path, "",
                   "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
  for (const Json& name : array_in(object_at(context, "capabilities"), "add"))
    if (name == "CAP_SYS_ADMIN")
      errors.invalid(path, "",
                     "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` "
                     "CAP_SYS_ADMIN");
}

void check_context(const Json& container, const std::string& container_path, FieldErrors& errors) {
  const Json& context = object_at(container, "securityContext");
  const std::string path = container_path + ".securityContext";
  check_ids(context, path, errors);
  check_choice(context, "procMount", path + ".procMount", {"Default", "Unmasked"}, errors);
  for (const char* key : {"seccompProfile", "appArmorProfile"})
    check_profile(context, key, path, errors);
  check_escalation(context, path, errors);
}

void check_hook(const Json& hook, const std::string& path, std::int64_t grace,
                FieldErrors& errors) {
  if (!has(hook, "sleep")) return;  // else checked with the container
  for (const char* kind : {"exec", "httpGet", "tcpSocket"})
    if (has(hook, kind))
      errors.forbidden(path + "." + kind, "may not specify more than 1 handler type");
  const std::int64_t seconds = number_in(hook.at("sleep"), "seconds");
  if (seconds < 0 || seconds > grace)
    errors.invalid(path + ".sleep", seconds,
                   "must be non-negative and less than terminationGracePeriodSeconds (" +
                       std::to_string(grace) + ")");
}

void check_hooks(const Json& container, const std::string& path, bool runs_to_its_end,
                 std::int64_t grace, FieldErrors& errors) {
  constexpr const char* kNotHere =
      "may not be set for init containers without restartPolicy=Always";
  if (runs_to_its_end)
    for (const char* key : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"})
      if (has(container, key)) errors.forbidden(path + "." + key, kNotHere);
  const Json& lifecycle = object_at(container, "lifecycle");
  for (const char* when : {"postStart", "preStop"})
    if (has(lifecycle, when) && !runs_to_its_end)
      check_hook(lifecycle.at(when), path + ".lifecycle." + when, grace, errors);
}

void check_pod_context(const Json& spec, const std::string& spec_path, FieldErrors& errors) {
  const Json& context = object_at(spec, "securityContext");
  const std::string path = spec_path + ".securityContext";
  check_ids(context, path, errors);
  const Json& groups = array_in(context, "supplementalGroups");
  for (std::size_t i = 0; i < groups.size(); ++i)
    check_id(groups[i], indexed(path + ".supplementalGroups", i), errors);
  check_choice(context, "fsGroupChangePolicy", path + ".fsGroupChangePolicy",
               {"Always", "OnRootMismatch"}, errors);
  check_choice(context, "supplementalGroupsPolicy", path + ".supplementalGroupsPolicy",
               {"Merge", "Strict"}, errors);
  for (const char* key : {"seccompProfile", "appArmorProfile"})
    check_profile(context, key, path, errors);
  if (json_bool(spec, {"shareProcessNamespace"}) && json_bool(spec, {"hostPID"}))
    errors.invalid(path + ".shareProcessNamespace", true,
                   "ShareProcessNamespace and HostPID cannot both be enabled");
}

}  // namespace

void validate_pod_security(const Json& spec, const std::string& path, FieldErrors& errors) {
  check_pod_context(spec, path, errors);
  const std::int64_t grace = number_in(spec, "terminationGracePeriodSeconds", 30);
  for (const char* list : {"initContainers", "containers"}) {
    const Json& containers = array_in(spec, list);
    for (std::size_t i = 0; i < containers.size(); ++i) {
      const std::string field = indexed(path + "." + list, i);
      const bool init = std::string(list) == "initContainers" &&
                        text_in(containers[i], "restartPolicy") != "Always";
      check_context(containers[i], field, errors);
      check_hooks(containers[i], field, init, grace, errors);
    }
  }
}

}  // namespace coracle
