// Questions a client asks about itself, answered and never stored: `kubectl auth can-i` and
// `kubectl auth whoami`. The answers are authorizer.h's, whom every request is put to.
#include <nlohmann/json.hpp>

#include "authorizer.h"
#include "resources/fields.h"
#include "resources/kinds.h"

namespace coracle {
namespace {

ResourceKind question(const char* group, const char* plural, const char* kind) {
  ResourceKind out;
  const std::string package(group, std::string_view(group).find('.'));
  out.resource = {group, "v1", plural, kind, false};
  out.singular = kind;
  for (char& c : out.singular)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  out.schema_type = package + ".v1." + kind;
  out.delete_collection = false;
  return out;
}

void check_one_question(const Json& review, FieldErrors& errors) {
  const Json& spec = object_at(review, "spec");
  if (has(spec, "resourceAttributes") == has(spec, "nonResourceAttributes"))
    errors.invalid("spec.resourceAttributes", object_at(spec, "resourceAttributes"),
                   "exactly one of nonResourceAttributes or resourceAttributes must be specified");
}

}  // namespace

ResourceKind self_subject_access_review_kind() {
  ResourceKind kind =
      question("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview");
  kind.validate = check_one_question;
  kind.answer = [](Json& review, const Asker& asker) {
    const auto request = access_question(object_at(review, "spec"));
    if (!request) {
      review["status"] = {{"allowed", false}, {"evaluationError", request.error().message}};
      return;
    }
    const Decision decision = asker.may(*request);
    review["status"] = {{"allowed", decision.allowed}, {"reason", decision.reason}};
  };
  return kind;
}

ResourceKind self_subject_rules_review_kind() {
  ResourceKind kind =
      question("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview");
  kind.answer = [](Json& review, const Asker& asker) {
    review["status"] = access_rules(asker.who);
  };
  return kind;
}

ResourceKind self_subject_review_kind() {
  ResourceKind kind = question("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview");
  kind.answer = [](Json& review, const Asker& asker) {
    Json groups = asker.who.groups;
    groups.push_back("system:authenticated");
    const Json user = {{"username", asker.who.user}, {"groups", groups}};
    review["status"] = Json::object({{"userInfo", user}});
  };
  return kind;
}

}  // namespace coracle
