// What a client may do. Rules and decisions are pure: who asks, for what, and the few objects that
// a rule has to look at -> allowed, or why not. Handlers::check is the one place that asks, for
// every request. As upstream: system:masters may do everything; a node what the Node authorizer and
// the NodeRestriction admission plug-in let it do (KEP-279, KEP-2862, KEP-4601), without what no
// agent of ours needs; everybody else with a credential discovery and questions about itself; a
// bootstrap token nothing but to join.
#pragma once

#include <coracle/labels.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "auth.h"
#include "registry.h"
#include "router.h"

namespace coracle {

// What a request is about, in the terms of authorization.k8s.io.
struct AccessRequest {
  std::string verb;  // "get", "list", ...; of a path: the method in lower case
  std::string path;  // set: no resource, but this
  std::string group, resource, subresource, ns, name;
  FieldSelector fields;  // of a list or watch
  // "pods/status".
  std::string full_resource() const;
};

// MethodNotAllowed, NotFound or BadRequest for what nobody could be allowed to do.
Result<AccessRequest> access_request(std::string_view method, std::string_view raw_path,
                                     const ApiPath& route, const Query& query);

// The same of a SelfSubjectAccessReview's spec. BadRequest for a field selector that is none.
Result<AccessRequest> access_question(const Json& spec);

// The cluster as far as rules look at it. Thread-safe.
class AccessView {
 public:
  virtual ~AccessView() = default;
  // nullopt: there is no such Pod.
  virtual std::optional<Json> pod(const ObjectKey& key) const = 0;
  // Those in the namespace that are bound to the node.
  virtual std::vector<Json> pods_of(const std::string& node, const std::string& ns) const = 0;
  // The fingerprint of the key with which the node joined last; "" when none is recorded.
  virtual std::string node_key(const std::string& node) const = 0;
};
// The registry must outlive it.
std::unique_ptr<AccessView> access_view(const Registry& registry);

struct Decision {
  bool allowed = false;
  std::string reason;  // why, or why not
};
Decision decide(const Identity& who, const AccessRequest& request, const AccessView& view);
// Forbidden, as upstream words it: nodes "x" is forbidden: User "u" cannot update resource "nodes"
// in API group "" at the cluster scope: <reason>
Error access_forbidden(const Identity& who, const AccessRequest& request,
                       const std::string& reason);

// The name in "system:node:NAME" of a member of system:nodes; "" for everybody else.
std::string node_of(const Identity& who);
bool is_member(const Identity& who, std::string_view group);

// What the path alone cannot tell: which object a write makes, and of what. Empty for who may write
// anything. For WriteOptions::admit.
std::function<Result<void>(const Json* next, const Json* old)> admission(const Identity& who,
                                                                         const Resource& resource);

// SelfSubjectRulesReview's status.
Json access_rules(const Identity& who);

// Who asks a question of theirs, and what they may do.
struct Asker {
  const Identity& who;
  std::function<Decision(const AccessRequest&)> may;
};

// The annotation of a Node that holds AccessView::node_key. A node cannot change it.
inline constexpr const char* kNodeKeyAnnotation = "coracle.dev/node-key";

}  // namespace coracle
