#include "pods/security.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "pods/resource_value.h"

namespace coracle::pods {
namespace {

// In the order of their numbers.
constexpr const char* kCapabilities[] = {"CHOWN",
                                         "DAC_OVERRIDE",
                                         "DAC_READ_SEARCH",
                                         "FOWNER",
                                         "FSETID",
                                         "KILL",
                                         "SETGID",
                                         "SETUID",
                                         "SETPCAP",
                                         "LINUX_IMMUTABLE",
                                         "NET_BIND_SERVICE",
                                         "NET_BROADCAST",
                                         "NET_ADMIN",
                                         "NET_RAW",
                                         "IPC_LOCK",
                                         "IPC_OWNER",
                                         "SYS_MODULE",
                                         "SYS_RAWIO",
                                         "SYS_CHROOT",
                                         "SYS_PTRACE",
                                         "SYS_PACCT",
                                         "SYS_ADMIN",
                                         "SYS_BOOT",
                                         "SYS_NICE",
                                         "SYS_RESOURCE",
                                         "SYS_TIME",
                                         "SYS_TTY_CONFIG",
                                         "MKNOD",
                                         "LEASE",
                                         "AUDIT_WRITE",
                                         "AUDIT_CONTROL",
                                         "SETFCAP",
                                         "MAC_OVERRIDE",
                                         "MAC_ADMIN",
                                         "SYSLOG",
                                         "WAKE_ALARM",
                                         "BLOCK_SUSPEND",
                                         "AUDIT_READ",
                                         "PERFMON",
                                         "BPF",
                                         "CHECKPOINT_RESTORE"};
constexpr std::uint64_t kAll = (std::uint64_t{1} << std::size(kCapabilities)) - 1;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) out.push_back(part);
  return out;
}

std::optional<std::uint32_t> number(const std::string& text) {
  std::uint32_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

struct User {
  std::string name, home;
  std::uint32_t gid = 0;
};
std::optional<User> find_user(std::uint32_t uid, const std::string& passwd) {
  for (const std::string& line : split(passwd, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 6 || number(fields[2]) != uid) continue;
    return User{fields[0], fields[5], number(fields[3]).value_or(0)};
  }
  return std::nullopt;
}

void add_groups_of(const std::string& user, const std::string& group,
                   std::set<std::uint32_t>& out) {
  for (const std::string& line : split(group, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4) continue;
    const auto members = split(fields[3], ',');
    const auto gid = number(fields[2]);
    if (gid && std::find(members.begin(), members.end(), user) != members.end()) out.insert(*gid);
  }
}

const Json& context_of(const Json& document) {
  static const Json empty = Json::object();
  const Json* found = json_find(document, {"securityContext"});
  return found != nullptr && found->is_object() ? *found : empty;
}

// The container's, else the Pod's.
const Json* setting(const Json& own, const Json& pod, const char* name) {
  for (const Json* context : {&own, &pod})
    if (const Json* value = json_find(*context, {name}); value != nullptr && !value->is_null())
      return value;
  return nullptr;
}

std::optional<std::uint32_t> id_setting(const Json& own, const Json& pod, const char* name) {
  const Json* value = setting(own, pod, name);
  if (value == nullptr || !value->is_number_integer()) return std::nullopt;
  return value->get<std::uint32_t>();
}

std::uint64_t bits_of(const Json& context, const char* list) {
  std::uint64_t out = 0;
  const Json* names = json_find(context, {"capabilities", list});
  if (names == nullptr || !names->is_array()) return 0;
  for (const Json& name : *names) {
    const std::string text = name.is_string() ? name.get<std::string>() : "";
    const int bit = capability_number(text);
    if (text == "ALL" || text == "CAP_ALL" || text == "all")
      out |= kAll;
    else if (bit >= 0)
      out |= std::uint64_t{1} << static_cast<unsigned>(bit);
  }
  return out;
}

// As containerd does: ALL first, then what is named.
std::uint64_t capabilities_of(const Json& own, bool shared) {
  const std::uint64_t add = bits_of(own, "add"), drop = bits_of(own, "drop");
  std::uint64_t out = kContainerCapabilities;
  if (add == kAll) out = kAll;
  if (drop == kAll) out = 0;
  if (add != kAll) out |= add;
  if (drop != kAll) out &= ~drop;
  // Where the Pod's supervisor is among the processes it sees, it would be a way to the host.
  if (shared) out &= ~(std::uint64_t{1} << static_cast<unsigned>(capability_number("SYS_PTRACE")));
  return out;
}

std::string full_name(const NodePod& pod) {
  return pod.pod.meta.name + "_" + pod.pod.meta.ns + "(" + pod.pod.meta.uid + ")";
}

Result<void> check_non_root(const NodePod& pod, const PodContainer& container,
                            std::optional<std::uint32_t> uid) {
  const std::string who =
      "(pod: \"" + full_name(pod) + "\", container: " + container.spec.name + ")";
  if (uid && *uid == 0)
    return Error{Code::BadRequest, "container's runAsUser breaks non-root policy " + who};
  if (!uid)
    return Error{Code::BadRequest, "container has runAsNonRoot and image will run as root " + who};
  return {};
}

std::vector<std::uint32_t> groups_of(const Json& pod, const std::optional<User>& user,
                                     const std::string& group) {
  std::set<std::uint32_t> out;
  if (user && json_string(pod, {"supplementalGroupsPolicy"}) != "Strict")
    add_groups_of(user->name, group, out);
  if (const Json* more = json_find(pod, {"supplementalGroups"}); more && more->is_array())
    for (const Json& gid : *more)
      if (gid.is_number_integer()) out.insert(gid.get<std::uint32_t>());
  if (const auto gid = id_setting(pod, pod, "fsGroup")) out.insert(*gid);
  return {out.begin(), out.end()};
}

void check_context(const Json& context, const std::string& path, std::vector<std::string>& out) {
  for (const char* field : {"seLinuxOptions", "windowsOptions", "sysctls"})
    if (const Json* value = json_find(context, {field}); value && !value->empty())
      out.push_back(path + field);
  if (json_bool(context, {"privileged"})) out.push_back(path + "privileged");
  for (const char* field : {"seccompProfile", "appArmorProfile"})
    if (json_string(context, {field, "type"}) == "Localhost") out.push_back(path + field);
  const std::string proc = json_string(context, {"procMount"});
  if (!proc.empty() && proc != "Default") out.push_back(path + "procMount");
}

bool asks_for(const Json& context, const char* capability) {
  const int bit = capability_number(capability);
  if (bit < 0) return false;
  return (bits_of(context, "add") >> static_cast<unsigned>(bit) & 1U) != 0;
}

std::int64_t amount(const NodePod& pod, const PodContainer& container, const char* list,
                    const char* name, std::uint64_t scale) {
  const Json* value = json_find(pod.document(container), {"resources", list, name});
  if (value == nullptr) return 0;
  return quantity(*value, scale);
}

}  // namespace

int capability_number(const std::string& name) {
  const std::string plain = name.starts_with("CAP_") ? name.substr(4) : name;
  const auto* end = std::end(kCapabilities);
  const auto* found = std::find(std::begin(kCapabilities), end, plain);
  return found == end ? -1 : static_cast<int>(found - std::begin(kCapabilities));
}

Result<Privileges> compute_privileges(const NodePod& pod, const PodContainer& container,
                                      const UserFiles& files) {
  const Json& shared = context_of(pod.spec());
  const Json& own = context_of(pod.document(container));
  const auto uid = id_setting(own, shared, "runAsUser");
  const Json* non_root = setting(own, shared, "runAsNonRoot");
  if (non_root != nullptr && *non_root == true) TRY(check_non_root(pod, container, uid));
  Privileges out;
  out.uid = uid.value_or(0);
  const auto user = find_user(out.uid, files.passwd);
  out.gid = id_setting(own, shared, "runAsGroup").value_or(user ? user->gid : 0);
  out.groups = groups_of(shared, user, files.group);
  out.capabilities = capabilities_of(own, shares_processes(pod));
  out.no_new_privileges = !json_bool(own, {"allowPrivilegeEscalation"});
  out.read_only_root = json_bool(own, {"readOnlyRootFilesystem"});
  return out;
}

std::string home_of(std::uint32_t uid, const std::string& passwd) {
  const auto user = find_user(uid, passwd);
  return user && !user->home.empty() ? user->home : "/";
}

ResourceLimits compute_limits(const NodePod& pod, const PodContainer& container) {
  ResourceLimits out;
  out.cpu_millis = amount(pod, container, "limits", "cpu", 1000);
  out.memory_bytes = amount(pod, container, "limits", "memory", 1);
  out.cpu_request_millis = amount(pod, container, "requests", "cpu", 1000);
  for (const PodContainer& c : pod.containers)
    if (c.role != PodContainer::Role::Init)
      out.pod_cpu_request_millis += amount(pod, c, "requests", "cpu", 1000);
  out.pod_cpu_request_millis = std::max(out.pod_cpu_request_millis, out.cpu_request_millis);
  return out;
}

std::vector<std::string> limited_resources(const NodePod& pod) {
  std::vector<std::string> out;
  for (const char* name : {"cpu", "memory"})
    if (std::any_of(pod.containers.begin(), pod.containers.end(), [&](const PodContainer& c) {
          return amount(pod, c, "limits", name, 1000) > 0;
        }))
      out.emplace_back(name);
  return out;
}

bool shares_processes(const NodePod& pod) {
  return json_bool(pod.spec(), {"shareProcessNamespace"});
}

std::vector<std::string> unsupported_security(const NodePod& pod) {
  std::vector<std::string> out;
  const bool shared = shares_processes(pod);
  for (const PodContainer& c : pod.containers) {
    const Json& context = context_of(pod.document(c));
    const std::string path =
        std::string("spec.") +
        (c.role == PodContainer::Role::Main ? "containers[" : "initContainers[") +
        std::to_string(c.index) + "].securityContext.";
    check_context(context, path, out);
    if (shared && asks_for(context, "SYS_PTRACE"))
      out.push_back(path + "capabilities.add SYS_PTRACE beside shareProcessNamespace");
  }
  check_context(context_of(pod.spec()), "spec.securityContext.", out);
  return out;
}

}  // namespace coracle::pods
