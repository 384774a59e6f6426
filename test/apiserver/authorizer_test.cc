// Who may do what, as a table, and that no request goes by it.
#include <apiserver/authorizer.h>
#include <apiserver/tokens.h>
#include <gmock/gmock.h>

#include "requests_fixture.h"

namespace coracle {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Identity kAdmin{"kubernetes-admin", {"system:masters"}};
const Identity kNode{"system:node:n1", {"system:nodes"}, "key1"};
const Identity kToken{"system:bootstrap:abcdef", {"system:bootstrappers"}};
const Identity kStranger{"somebody", {"people"}};

class View : public AccessView {
 public:
  std::optional<Json> pod(const ObjectKey& key) const override {
    if (key.name == "mine") return bound("n1");
    if (key.name == "other") return bound("n2");
    if (key.name == "pending") return bound("");
    return std::nullopt;
  }
  std::vector<Json> pods_of(const std::string& node, const std::string& ns) const override {
    if (node != "n1" || ns != "shop") return {};
    return {Json::parse(R"({"spec":{"nodeName":"n1","containers":[{"name":"c",
      "env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"env","key":"k"}}},
             {"name":"B","valueFrom":{"secretKeyRef":{"name":"env-secret","key":"k"}}}],
      "envFrom":[{"configMapRef":{"name":"all"}}]}],
      "initContainers":[{"name":"i","envFrom":[{"secretRef":{"name":"init"}}]}],
      "imagePullSecrets":[{"name":"pull"}],
      "volumes":[{"name":"v","secret":{"secretName":"vol"}},{"name":"w","configMap":{"name":"vol"}},
        {"name":"p","projected":{"sources":[{"configMap":{"name":"projected"}}]}}]}})")};
  }
  std::string node_key(const std::string& node) const override {
    return node == "n1" ? "key1" : "";
  }

 private:
  static Json bound(const std::string& node) {
    return Json::object({{"spec", {{"nodeName", node}}}});
  }
};

Result<AccessRequest> request_of(const std::string& method, const std::string& target) {
  const std::size_t mark = std::min(target.find('?'), target.size());
  const std::string path = target.substr(0, mark);
  const auto query = Query::parse(mark == target.size() ? "" : target.substr(mark + 1));
  return access_request(method, path, *parse_route(path), *query);
}

Decision ask(const Identity& who, const std::string& method, const std::string& target) {
  const auto request = request_of(method, target);
  EXPECT_TRUE(request) << target;
  return decide(who, *request, View());
}

struct Case {
  const char* method;
  const char* target;
  bool allowed;
};

constexpr Case kOfNodes[] = {
    {"GET", "/api/v1/services?watch=1", true},
    {"GET", "/api/v1/endpoints", true},
    {"GET", "/apis/discovery.k8s.io/v1/endpointslices?watch=1", true},
    {"GET", "/api/v1/namespaces/default", true},
    {"GET", "/api/v1/nodes", true},
    {"GET", "/api/v1/nodes/n2", true},
    {"POST", "/api/v1/nodes", true},
    {"PUT", "/api/v1/nodes/n1", true},
    {"PATCH", "/api/v1/nodes/n1/status", true},
    {"PUT", "/api/v1/nodes/n2", false},
    {"PUT", "/api/v1/nodes/n2/status", false},
    {"DELETE", "/api/v1/nodes/n1", false},
    {"DELETE", "/api/v1/nodes", false},
    {"GET", "/api/v1/nodes/n1/proxy", false},
    {"GET", "/api/v1/nodes/n1/proxy/metrics", false},
    {"GET", "/api/v1/nodes/n1/proxy/metrics?watch=1", false},
    {"HEAD", "/api/v1/nodes/n2/proxy/healthz", false},
    {"POST", "/api/v1/nodes/n1/proxy/metrics", false},
    {"POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", true},
    {"GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", true},
    {"PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", true},
    {"PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", false},
    {"PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1", false},
    {"GET", "/apis/coordination.k8s.io/v1/leases", false},
    {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", true},
    {"GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1", true},
    {"GET", "/api/v1/watch/pods?fieldSelector=spec.nodeName%3Dn1", true},
    {"GET", "/api/v1/pods", false},
    {"GET", "/api/v1/watch/pods", false},
    {"GET", "/api/v1/pods?watch=1", false},
    {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", false},
    {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%21%3Dn1", false},
    {"GET", "/api/v1/namespaces/shop/pods/mine", true},
    {"HEAD", "/api/v1/namespaces/shop/pods/mine", true},
    {"GET", "/api/v1/namespaces/shop/pods/gone", true},
    {"GET", "/api/v1/namespaces/shop/pods/other", false},
    {"GET", "/api/v1/namespaces/shop/pods/pending", false},
    {"DELETE", "/api/v1/namespaces/shop/pods/mine", true},
    {"DELETE", "/api/v1/namespaces/shop/pods/other", false},
    {"DELETE", "/api/v1/namespaces/shop/pods?fieldSelector=spec.nodeName%3Dn1", false},
    {"PUT", "/api/v1/namespaces/shop/pods/mine/status", true},
    {"PUT", "/api/v1/namespaces/shop/pods/other/status", false},
    {"PUT", "/api/v1/namespaces/shop/pods/mine", false},
    {"POST", "/api/v1/namespaces/shop/pods", false},
    {"POST", "/api/v1/namespaces/shop/pods/mine/binding", false},
    {"POST", "/api/v1/namespaces/shop/events", true},
    {"PATCH", "/api/v1/namespaces/shop/events/e", true},
    {"GET", "/api/v1/namespaces/shop/events", false},
    {"GET", "/api/v1/namespaces/shop/configmaps/env", true},
    {"GET", "/api/v1/namespaces/shop/configmaps/all", true},
    {"GET", "/api/v1/namespaces/shop/configmaps/vol", true},
    {"GET", "/api/v1/namespaces/shop/configmaps/projected", true},
    {"GET", "/api/v1/namespaces/shop/configmaps/env-secret", false},
    {"GET", "/api/v1/namespaces/other/configmaps/env", false},
    {"GET", "/api/v1/namespaces/shop/configmaps", false},
    {"GET", "/api/v1/namespaces/shop/configmaps/env?watch=1", false},
    {"GET", "/api/v1/namespaces/shop/secrets/env-secret", true},
    {"GET", "/api/v1/namespaces/shop/secrets/init", true},
    {"GET", "/api/v1/namespaces/shop/secrets/pull", true},
    {"GET", "/api/v1/namespaces/shop/secrets/vol", true},
    {"GET", "/api/v1/namespaces/shop/secrets/env", false},
    {"GET", "/api/v1/secrets", false},
    {"PUT", "/api/v1/namespaces/shop/secrets/vol", false},
    {"GET", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef", false},
    {"PUT", "/api/v1/namespaces/shop/services/s", false},
    {"POST", "/coracle/v1/join", true},
    {"GET", "/metrics", false},
    {"GET", "/apis", true},
    {"GET", "/openapi/v3/api/v1", true},
    {"GET", "/apiserver", false},
    {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", true},
};

TEST(Authorizer, NodesMayWhatAnAgentNeeds) {
  for (const Case& c : kOfNodes) {
    const Decision decision = ask(kNode, c.method, c.target);
    EXPECT_EQ(decision.allowed, c.allowed)
        << c.method << " " << c.target << ": " << decision.reason;
    EXPECT_FALSE(decision.reason.empty());
    EXPECT_TRUE(ask(kAdmin, c.method, c.target).allowed) << c.target;
    const bool joins = std::string(c.target) == "/coracle/v1/join";
    EXPECT_EQ(ask(kToken, c.method, c.target).allowed, joins) << c.target;
  }
}

TEST(Authorizer, OthersMayOnlyLookAtTheApiItself) {
  EXPECT_TRUE(ask(kStranger, "GET", "/api/v1").allowed);
  EXPECT_TRUE(
      ask(kStranger, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").allowed);
  for (const char* path :
       {"/api/v1/pods", "/metrics", "/api/v1/nodes", "/api/v1/nodes/n1/proxy/metrics"})
    EXPECT_FALSE(ask(kStranger, "GET", path).allowed) << path;
  EXPECT_FALSE(ask(kStranger, "POST", "/coracle/v1/join").allowed);
  // The name alone makes no node, nor does the group.
  EXPECT_FALSE(ask({"system:node:n1", {}, "key1"}, "GET", "/api/v1/nodes").allowed);
  EXPECT_FALSE(ask({"n1", {"system:nodes"}, "key1"}, "GET", "/api/v1/nodes").allowed);
}

TEST(Authorizer, AReplacedKeyAndAnExpiredCertificateAreGoodForLittle) {
  Identity replaced = kNode;
  replaced.key = "key0";
  const Decision refused = ask(replaced, "GET", "/api/v1/nodes");
  EXPECT_FALSE(refused.allowed);
  EXPECT_THAT(refused.reason, HasSubstr("another key"));
  EXPECT_FALSE(ask(replaced, "POST", "/coracle/v1/join").allowed);
  Identity lapsed = kNode;
  lapsed.lapsed = true;
  EXPECT_TRUE(ask(lapsed, "POST", "/coracle/v1/join").allowed);
  for (const char* path : {"/api/v1/nodes", "/api", "/metrics"}) {
    EXPECT_FALSE(ask(lapsed, "GET", path).allowed) << path;
    EXPECT_THAT(ask(lapsed, "GET", path).reason, HasSubstr("expired"));
  }
}

TEST(Authorizer, RefusalsAreWordedAsUpstreamDoes) {
  const auto message = [](const char* method, const char* target) {
    return access_forbidden(kNode, *request_of(method, target), "WHY").message;
  };
  EXPECT_EQ(message("PUT", "/api/v1/nodes/x"),
            "nodes \"x\" is forbidden: User \"system:node:n1\" cannot update resource \"nodes\" in "
            "API group \"\" at the cluster scope: WHY");
  EXPECT_EQ(message("PUT", "/api/v1/namespaces/a/pods/x/status"),
            "pods \"x\" is forbidden: User \"system:node:n1\" cannot update resource "
            "\"pods/status\" in API group \"\" in the namespace \"a\": WHY");
  EXPECT_EQ(message("GET", "/apis/coordination.k8s.io/v1/leases"),
            "leases.coordination.k8s.io is forbidden: User \"system:node:n1\" cannot list resource "
            "\"leases\" in API group \"coordination.k8s.io\" at the cluster scope: WHY");
  EXPECT_EQ(message("GET", "/metrics"),
            "forbidden: User \"system:node:n1\" cannot get path \"/metrics\": WHY");
}

// What a node's write makes of what.
std::string refusal(const Resource& resource, const char* next, const char* old) {
  const auto admit = admission(kNode, resource);
  const Json none;
  const Json now = next == nullptr ? none : Json::parse(next);
  const Json before = old == nullptr ? none : Json::parse(old);
  const auto done = admit(next == nullptr ? nullptr : &now, old == nullptr ? nullptr : &before);
  if (done) return "";
  EXPECT_EQ(done.error().code, Code::Forbidden);
  return done.error().message;
}

TEST(NodeRestriction, LabelsTaintsAndOtherNodes) {
  constexpr const char* kPlain = R"({"metadata":{"name":"n1"}})";
  const auto labelled = [](const std::string& label) {
    return R"({"metadata":{"name":"n1","labels":{")" + label + R"(":"x"}}})";
  };
  for (const char* own : {"kubernetes.io/hostname", "node.kubernetes.io/speed", "disk",
                          "example.com/a", "kubelet.kubernetes.io/a"}) {
    EXPECT_EQ(refusal(resources::kNodes, labelled(own).c_str(), kPlain), "") << own;
    EXPECT_EQ(refusal(resources::kNodes, labelled(own).c_str(), nullptr), "") << own;
  }
  for (const char* foreign :
       {"node-restriction.kubernetes.io/a", "x.node-restriction.kubernetes.io/a",
        "node-role.kubernetes.io/control-plane", "kubernetes.io/role", "a.k8s.io/b"}) {
    EXPECT_THAT(refusal(resources::kNodes, labelled(foreign).c_str(), kPlain), HasSubstr(foreign));
    EXPECT_THAT(refusal(resources::kNodes, labelled(foreign).c_str(), nullptr), HasSubstr(foreign));
    EXPECT_THAT(refusal(resources::kNodes, kPlain, labelled(foreign).c_str()), HasSubstr(foreign))
        << "nor take it away";
    EXPECT_EQ(refusal(resources::kNodes, labelled(foreign).c_str(), labelled(foreign).c_str()), "");
  }
  constexpr const char* kTainted =
      R"({"metadata":{"name":"n1"},"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}})";
  EXPECT_EQ(refusal(resources::kNodes, kTainted, nullptr), "") << "it may come with one";
  EXPECT_THAT(refusal(resources::kNodes, kPlain, kTainted), HasSubstr("taints"));
  EXPECT_THAT(refusal(resources::kNodes, kTainted, kPlain), HasSubstr("taints"));
  EXPECT_THAT(refusal(resources::kNodes, R"({"metadata":{"name":"n2"}})", nullptr),
              StartsWith("nodes \"n2\" is forbidden: "));
  constexpr const char* kRanged = R"({"metadata":{"name":"n1"},"spec":{"podCIDR":"10.42.0.0/24"}})";
  EXPECT_THAT(refusal(resources::kNodes, kRanged, kPlain), HasSubstr("Pod CIDR"));
  constexpr const char* kKeyed =
      R"({"metadata":{"name":"n1","annotations":{"coracle.dev/node-key":"k"}}})";
  EXPECT_THAT(refusal(resources::kNodes, kKeyed, kPlain), HasSubstr("coracle.dev/node-key"));
  EXPECT_THAT(refusal(resources::kNodes, kPlain, kKeyed), HasSubstr("coracle.dev/node-key"));
}

TEST(NodeRestriction, LeasesAndPods) {
  constexpr const char* kOwn = R"({"metadata":{"name":"n1","namespace":"kube-node-lease"}})";
  constexpr const char* kOther = R"({"metadata":{"name":"n2","namespace":"kube-node-lease"}})";
  EXPECT_EQ(refusal(resources::kLeases, kOwn, nullptr), "");
  EXPECT_NE(refusal(resources::kLeases, kOther, nullptr), "");
  constexpr const char* kMine = R"({"metadata":{"name":"p"},"spec":{"nodeName":"n1"}})";
  constexpr const char* kPending = R"({"metadata":{"name":"p"},"spec":{}})";
  EXPECT_EQ(refusal(resources::kPods, kMine, kMine), "");
  EXPECT_EQ(refusal(resources::kPods, nullptr, kMine), "");
  EXPECT_NE(refusal(resources::kPods, nullptr, kPending), "") << "another Pod of the name";
  EXPECT_FALSE(admission(kAdmin, resources::kNodes));
}

// Over the handlers, as a node would come with a token that stands for its certificate.
class AuthorizedRequests : public RequestsFixture {
 protected:
  void SetUp() override {
    RequestsFixture::SetUp();
    authenticator_ = Authenticator(nullptr, "token", [](const std::string& token) {
      return token.starts_with("node") ? Result<Identity>(kNode) : Result<Identity>(kToken);
    });
  }
  Response as(const char* token, const std::string& method, const std::string& target,
              const std::string& body = "") const {
    return ask(method, target, {{"Authorization", std::string("Bearer ") + token}}, body);
  }
  static constexpr const char* kAsNode = "node00.0123456789abcdef";
  static constexpr const char* kAsToken = "abcdef.0123456789abcdef";
};

TEST_F(AuthorizedRequests, NodesAndTokensAreHeldToTheTable) {
  EXPECT_EQ(as("token", "GET", "/api/v1/secrets").code, 200);
  const Response refused = as(kAsNode, "GET", "/api/v1/secrets");
  EXPECT_EQ(refused.code, 403);
  EXPECT_EQ(json_string(refused.json(), {"reason"}), "Forbidden");
  EXPECT_EQ(json_string(refused.json(), {"details", "kind"}), "secrets");
  EXPECT_EQ(as(kAsNode, "OPTIONS", "/api/v1/secrets").code, 405);
  EXPECT_EQ(as(kAsNode, "GET", "/nothing").code, 403);
  EXPECT_EQ(as(kAsNode, "GET", "/api/v1/nodes").code, 200);
  EXPECT_EQ(as(kAsNode, "GET", "/api/v1/nodes/n1/proxy/metrics").code, 403);
  for (const char* path :
       {"/api/v1/nodes", "/api", "/metrics", "/apis", "/api/v1/nodes/n1/proxy/metrics"})
    EXPECT_EQ(as(kAsToken, "GET", path).code, 403) << path;
  EXPECT_EQ(as("wrong", "GET", "/api/v1/nodes").code, 401);
}

TEST_F(AuthorizedRequests, ANodeWritesItsOwnNodeAndIsKnownByItsKey) {
  constexpr const char* kNodes = "/api/v1/nodes";
  constexpr const char* kOther = R"({"metadata":{"name":"n2"}})";
  EXPECT_EQ(as(kAsNode, "POST", kNodes, kOther).code, 403);
  const Response made = as(kAsNode, "POST", kNodes, R"({"metadata":{"name":"n1"}})");
  ASSERT_EQ(made.code, 201) << made.body;
  EXPECT_EQ(json_string(made.json(), {"metadata", "annotations", kNodeKeyAnnotation}), "key1");
  Json node = made.json();
  node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "";
  const Response raised = as(kAsNode, "PUT", "/api/v1/nodes/n1", node.dump());
  EXPECT_EQ(raised.code, 403);
  EXPECT_THAT(raised.body, HasSubstr("control-plane"));
  node = made.json();
  node["metadata"]["labels"]["disk"] = "ssd";
  EXPECT_EQ(as(kAsNode, "PUT", "/api/v1/nodes/n1", node.dump()).code, 200);
  node = as("token", "GET", "/api/v1/nodes/n1").json();
  node["metadata"]["annotations"][kNodeKeyAnnotation] = "key2";
  ASSERT_EQ(as("token", "PUT", "/api/v1/nodes/n1", node.dump()).code, 200);
  EXPECT_EQ(as(kAsNode, "GET", kNodes).code, 403) << "another machine has taken the name";
}

TEST_F(AuthorizedRequests, CanIAnswersTheSame) {
  const auto can = [&](const char* token, const Json& attributes) {
    const Json review = {{"spec", {{"resourceAttributes", attributes}}}};
    const Response answer =
        as(token, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review.dump());
    EXPECT_EQ(answer.code, 201) << answer.body;
    return json_bool(answer.json(), {"status", "allowed"});
  };
  EXPECT_TRUE(can("token", {{"verb", "*"}, {"resource", "*"}}));
  EXPECT_TRUE(can(kAsNode, {{"verb", "list"}, {"resource", "services"}}));
  EXPECT_FALSE(can(kAsNode, {{"verb", "list"}, {"resource", "secrets"}}));
  EXPECT_FALSE(can(kAsNode, {{"verb", "list"}, {"resource", "pods"}}));
  const Json proxy = {
      {"verb", "get"}, {"resource", "nodes"}, {"subresource", "proxy"}, {"name", "n1"}};
  EXPECT_TRUE(can("token", proxy));
  EXPECT_FALSE(can(kAsNode, proxy));
  EXPECT_TRUE(can(kAsNode, {{"verb", "list"},
                            {"resource", "pods"},
                            {"fieldSelector", {{"rawSelector", "spec.nodeName=n1"}}}}));
  EXPECT_TRUE(can(kAsNode, {{"verb", "update"}, {"resource", "nodes"}, {"name", "n1"}}));
  EXPECT_FALSE(can(kAsNode, {{"verb", "update"}, {"resource", "nodes"}, {"name", "n2"}}));
  const Response rules =
      as(kAsNode, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
         R"({"spec":{"namespace":"default"}})");
  EXPECT_EQ(rules.code, 201) << rules.body;
  EXPECT_THAT(rules.body, HasSubstr("endpointslices"));
  EXPECT_TRUE(json_bool(rules.json(), {"status", "incomplete"}));
}

}  // namespace
}  // namespace coracle
