#include "pods/node_pod.h"

#include <nlohmann/json.hpp>

namespace coracle::pods {
namespace {

const Json& empty_object() {
  static const Json empty = Json::object();
  return empty;
}

const char* list_of(PodContainer::Role role) {
  return role == PodContainer::Role::Main ? "containers" : "initContainers";
}

}  // namespace

Result<NodePod> NodePod::decode(const Object& object) {
  NodePod out{TRY(Pod::decode(object)), object, {}};
  for (std::size_t i = 0; i < out.pod.init_containers.size(); ++i) {
    PodContainer container{out.pod.init_containers[i], PodContainer::Role::Init, i, {}, {}};
    if (json_string(out.document(container), {"restartPolicy"}) == "Always")
      container.role = PodContainer::Role::Sidecar;
    out.containers.push_back(std::move(container));
  }
  for (std::size_t i = 0; i < out.pod.containers.size(); ++i)
    out.containers.push_back({out.pod.containers[i], PodContainer::Role::Main, i, {}, {}});
  for (PodContainer& c : out.containers) {
    c.post_start = decode_hook(out.document(c), "postStart");
    c.pre_stop = decode_hook(out.document(c), "preStop");
  }
  return out;
}

const PodContainer* NodePod::find(const std::string& container) const {
  for (const PodContainer& c : containers)
    if (c.spec.name == container) return &c;
  return nullptr;
}

const Json& NodePod::document(const PodContainer& container) const {
  const Json* list = json_find(object.json(), {"spec", list_of(container.role)});
  if (list == nullptr || !list->is_array()) return empty_object();
  // By name: what could not be decoded is missing from the typed list.
  for (const Json& c : *list)
    if (json_string(c, {"name"}) == container.spec.name) return c;
  return empty_object();
}

const Json& NodePod::spec() const {
  const Json* spec = json_find(object.json(), {"spec"});
  return spec != nullptr && spec->is_object() ? *spec : empty_object();
}

const Json& NodePod::status() const {
  const Json* status = json_find(object.json(), {"status"});
  return status != nullptr && status->is_object() ? *status : empty_object();
}

ObjectReference reference_of(const NodePod& pod, const PodContainer* container) {
  ObjectReference out{.api_version = "v1",
                      .kind = "Pod",
                      .ns = pod.pod.meta.ns,
                      .name = pod.pod.meta.name,
                      .uid = pod.pod.meta.uid,
                      .field_path = ""};
  if (container != nullptr)
    out.field_path =
        std::string("spec.") + list_of(container->role) + "{" + container->spec.name + "}";
  return out;
}

}  // namespace coracle::pods
