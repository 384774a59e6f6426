#include "pods/pod_env.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "pods/object_values.h"
#include "pods/pod_etc.h"
#include "pods/pod_volumes.h"

namespace coracle::pods {
namespace {

using Variables = std::map<std::string, std::string>;

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The key of labels['key'] or annotations["key"].
std::string subscript(const std::string& path, const std::string& field) {
  if (!path.starts_with(field + "[") || path.back() != ']') return "";
  std::string key = path.substr(field.size() + 1, path.size() - field.size() - 2);
  if (key.size() >= 2 && (key.front() == '\'' || key.front() == '"') && key.back() == key.front())
    key = key.substr(1, key.size() - 2);
  return key;
}

bool is_env_name(const std::string& name) {
  return !name.empty() && name.find('=') == std::string::npos;
}

// One container's environment on its way: later settings of a name replace earlier ones.
class EnvBuilder {
 public:
  EnvBuilder(const NodePod& pod, const PodContainer& container, const EnvSources& sources)
      : pod_(pod), container_(container), document_(pod.document(container)), sources_(sources) {}

  Result<Env> build(bool echo) {
    // Lowest first: upstream gives Services' variables only where nothing else sets the name, but
    // lets the container's own refer to them.
    for (const auto& [name, value] : sources_.services) known_.emplace(name, value);
    TRY(add_env_from());
    TRY(add_env());
    Env out;
    const auto otherwise = [&](const std::string& name, const std::string& value) {
      if (!set_.contains(name)) out.emplace_back(name, value);
    };
    otherwise("PATH", kDefaultPath);
    const auto hostname =
        compute_kernel_hostname(pod_, sources_.node_name, sources_.cluster_domain);
    if (hostname) otherwise("HOSTNAME", *hostname);
    if (echo) {
      otherwise("POD_NAME", pod_.pod.meta.name);
      otherwise("POD_NAMESPACE", pod_.pod.meta.ns);
      otherwise("POD_IP", sources_.fields.pod_ip.to_string());
      otherwise("NODE_NAME", sources_.node_name);
    }
    for (const auto& [name, value] : sources_.services) otherwise(name, value);
    for (const std::string& name : order_) out.emplace_back(name, set_[name]);
    return out;
  }

 private:
  void set(const std::string& name, const std::string& value) {
    if (!set_.contains(name)) order_.push_back(name);
    set_[name] = value;
    known_[name] = value;
  }

  // The object's values; none when it is optional and missing.
  Result<Variables> fetch(const Resource& resource, const Json& reference) {
    const std::string name = json_string(reference, {"name"});
    auto object = sources_.fetch(resource, name);
    if (object) return object_values(resource, *object);
    if (is_not_found(object.error()) && json_bool(reference, {"optional"})) return Variables();
    return is_not_found(object.error()) ? not_found(resource, name) : object.error();
  }

  Result<void> add_env_from() {
    const Json* list = json_find(document_, {"envFrom"});
    if (list == nullptr || !list->is_array()) return {};
    for (const Json& source : *list) {
      const std::string prefix = json_string(source, {"prefix"});
      for (const auto& [member, resource] : kReferences) {
        const Json* reference = json_find(source, {member[0]});
        if (reference == nullptr || !reference->is_object()) continue;
        const Variables values = TRY(fetch(*resource, *reference));
        for (const auto& [key, value] : values)
          if (is_env_name(prefix + key)) set(prefix + key, value);
      }
    }
    return {};
  }

  Result<void> add_env() {
    const Json* list = json_find(document_, {"env"});
    if (list == nullptr || !list->is_array()) return {};
    for (const Json& variable : *list) {
      const std::string name = json_string(variable, {"name"});
      if (!is_env_name(name)) continue;
      const Json* from = json_find(variable, {"valueFrom"});
      if (from == nullptr || !from->is_object()) {
        set(name, expand_variables(json_string(variable, {"value"}), known_));
        continue;
      }
      const auto value = TRY(value_from(*from));
      if (value) set(name, *value);
    }
    return {};
  }

  Result<std::optional<std::string>> value_from(const Json& from) {
    using Found = std::optional<std::string>;
    if (const std::string path = json_string(from, {"fieldRef", "fieldPath"}); !path.empty())
      return Found(TRY(field_value(pod_, sources_.fields, path)));
    if (const Json* resource = json_find(from, {"resourceFieldRef"}); resource != nullptr)
      return Found(TRY(resource_value(pod_, container_, *resource, TRY(sources_.allocatable()))));
    for (const auto& [member, resource] : kReferences) {
      const Json* reference = json_find(from, {member[1]});
      if (reference == nullptr || !reference->is_object()) continue;
      const Variables values = TRY(fetch(*resource, *reference));
      const std::string key = json_string(*reference, {"key"});
      const auto it = values.find(key);
      if (it != values.end()) return Found(it->second);
      if (json_bool(*reference, {"optional"})) return Found();
      const bool secret = *resource == resources::kSecrets;
      return Error{Code::NotFound, "couldn't find key " + key + " in " +
                                       (secret ? "Secret " : "ConfigMap ") + pod_.pod.meta.ns +
                                       "/" + json_string(*reference, {"name"})};
    }
    return Found();  // a source that is not offered was announced with an Event
  }

  struct Reference {
    const char* member[2];  // in envFrom, in valueFrom
    const Resource* resource;
  };
  static constexpr Reference kReferences[] = {
      {{"configMapRef", "configMapKeyRef"}, &resources::kConfigMaps},
      {{"secretRef", "secretKeyRef"}, &resources::kSecrets}};

  const NodePod& pod_;
  const PodContainer& container_;
  const Json& document_;
  const EnvSources& sources_;
  Variables known_, set_;
  std::vector<std::string> order_;
};

bool is_echo(const std::string& image) {
  return image == "coracle/echo" || image.starts_with("coracle/echo:");
}

}  // namespace

std::string expand_variables(const std::string& text, const Variables& variables) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const std::size_t end = text[i + 1] == '(' ? text.find(')', i + 2) : std::string::npos;
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
    } else if (end == std::string::npos) {
      out += '$';
    } else {
      const auto it = variables.find(text.substr(i + 2, end - i - 2));
      out += it == variables.end() ? text.substr(i, end - i + 1) : it->second;
      i = end;
    }
  }
  return out;
}

Result<std::string> field_value(const NodePod& pod, const FieldFacts& facts,
                                const std::string& field_path) {
  const Meta& meta = pod.pod.meta;
  const std::map<std::string, std::string> fields = {
      {"metadata.name", meta.name},
      {"metadata.namespace", meta.ns},
      {"metadata.uid", meta.uid},
      {"spec.nodeName", pod.pod.node_name},
      {"spec.serviceAccountName", pod.pod.service_account_name},
      {"status.podIP", facts.pod_ip.to_string()},
      {"status.podIPs", facts.pod_ip.to_string()},
      {"status.hostIP", facts.host_ip.to_string()},
      {"status.hostIPs", facts.host_ip.to_string()}};
  if (const auto it = fields.find(field_path); it != fields.end()) return it->second;
  for (const auto& [field, values] : {std::pair{"metadata.labels", &meta.labels},
                                      std::pair{"metadata.annotations", &meta.annotations}}) {
    const std::string key = subscript(field_path, field);
    if (key.empty()) continue;
    const auto it = values->find(key);
    return it == values->end() ? std::string() : it->second;
  }
  return Error{Code::BadRequest, "unsupported pod fieldPath: " + field_path};
}

Result<Env> compute_env(const NodePod& pod, const PodContainer& container,
                        const EnvSources& sources) {
  return EnvBuilder(pod, container, sources).build(is_echo(container.spec.image));
}

Result<ContainerSpec> compute_container(const NodePod& pod, const PodContainer& container,
                                        const EnvSources& sources) {
  ContainerSpec out;
  out.name = container.spec.name;
  out.image = container.spec.image;
  out.working_dir = container.spec.working_dir;
  out.oom_score_adj = oom_score_adj(pod, container, sources.memory);
  out.termination_message_path = container.spec.termination_message_path;
  out.message_from_log = container.spec.termination_message_policy == "FallbackToLogsOnError";
  out.privileges = TRY(compute_privileges(pod, container, sources.users));
  out.limits = compute_limits(pod, container);
  out.env = TRY(compute_env(pod, container, sources));
  if (std::none_of(out.env.begin(), out.env.end(), [](const auto& e) { return e.first == "HOME"; }))
    out.env.emplace_back("HOME", home_of(out.privileges.uid, sources.users.passwd));
  const Variables variables(out.env.begin(), out.env.end());
  for (const std::string& word : container.spec.command)
    out.command.push_back(expand_variables(word, variables));
  for (const std::string& word : container.spec.args)
    out.args.push_back(expand_variables(word, variables));
  for (const ContainerPort& port : container.spec.ports)
    if (port.container_port > 0 && port.container_port < 65536)
      out.ports.push_back(static_cast<std::uint16_t>(port.container_port));
  out.mounts = TRY(mounts_of(pod, container, out.env));
  return out;
}

}  // namespace coracle::pods
