// Every kind through the registry, and what each defaults and refuses.
#include <apiserver/print_table.h>
#include <apiserver/schema.h>
#include <apiserver/watch_filter.h>

#include <set>

#include "registry_fixture.h"

namespace coracle {
namespace {

class ResourcesTest : public RegistryFixture {
 protected:
  // The smallest valid object of a kind.
  static Json minimal(const ResourceKind& kind) {
    const std::string& plural = kind.resource.plural;
    if (plural == "pods") return simple_pod("x");
    if (plural == "services") return simple_service("x");
    if (plural == "endpointslices") return {{"metadata", {{"name", "x"}}}, {"addressType", "IPv4"}};
    if (plural == "events")
      return {{"metadata", {{"name", "x"}}}, {"involvedObject", {{"namespace", "default"}}}};
    if (plural == "controllerrevisions")
      return {{"metadata", {{"name", "x"}}}, {"revision", 1}, {"data", Json::object()}};
    if (kind.resource.group == "apps") {
      Json pod = simple_pod("x");
      pod["metadata"] = {{"labels", {{"app", "x"}}}};
      return {{"metadata", {{"name", "x"}}},
              {"spec", {{"selector", {{"matchLabels", {{"app", "x"}}}}}, {"template", pod}}}};
    }
    return {{"metadata", {{"name", "x"}}}};
  }
  void refused(const Resource& resource, const Json& object, const std::string& field,
               const std::string& message) {
    const auto created = create(resource, object);
    ASSERT_FALSE(created) << object.dump();
    EXPECT_EQ(created.error().code, Code::Invalid);
    bool found = false;
    for (const Cause& cause : created.error().causes)
      found = found || (cause.field == field && cause.message.find(message) != std::string::npos);
    EXPECT_TRUE(found) << field << ": " << message << "\n" << created.error().message;
  }
  static Json pod_with(const Json& spec, const Json& container = Json::object()) {
    Json pod = simple_pod("p");
    pod["spec"].update(spec);
    if (!container.empty()) pod["spec"]["containers"][0].update(container);
    return pod;
  }
};

TEST_F(ResourcesTest, EveryKindLivesItsWholeLife) {
  std::set<std::string> plurals;
  for (const ResourceKind& kind : registry_->kinds()) {
    SCOPED_TRACE(kind.resource.plural);
    EXPECT_TRUE(plurals.insert(kind.resource.plural).second);
    EXPECT_FALSE(kind.singular.empty());
    EXPECT_NE(Schema::instance().find(kind.schema_type), nullptr) << kind.schema_type;
    if (kind.answer) continue;  // never stored: reviews_test.cc
    const Json created = make(kind.resource, minimal(kind));
    EXPECT_EQ(created["kind"], kind.resource.kind);
    EXPECT_EQ(created["apiVersion"], kind.resource.api_version());
    // What is stored passes the kind's own schema.
    Json checked = created;
    const auto report = check_document(*Schema::instance().find(kind.schema_type), checked,
                                       FieldValidation::Strict, {});
    EXPECT_TRUE(report) << report.error().message;

    ListRequest request;
    request.fields = *FieldSelector::parse("metadata.name=x");
    for (const std::string& field : kind.selectable_fields)
      EXPECT_TRUE(check_fields(kind, *FieldSelector::parse(field + "=x"))) << field;
    auto page = registry_->list(kind, request);
    ASSERT_TRUE(page);
    EXPECT_EQ(page->entries.size(), 1U);
    EXPECT_EQ(page->entries[0]->durability,
              kind.ephemeral ? Durability::Ephemeral : Durability::Durable);

    auto watch = registry_->watch(kind, "", page->revision);
    ASSERT_TRUE(watch);
    const auto labelled = patch(kind.resource, "x", {{"metadata", {{"labels", {{"l", "v"}}}}}});
    ASSERT_TRUE(labelled) << labelled.error().message;
    const auto events =
        (*watch)->next(std::chrono::steady_clock::now() + std::chrono::seconds(60), {});
    ASSERT_TRUE(events);
    EXPECT_EQ(events->size(), 1U);
    const auto same = update(kind.resource, *labelled);
    ASSERT_TRUE(same) << same.error().message;
    EXPECT_EQ((*same)["metadata"]["resourceVersion"], (*labelled)["metadata"]["resourceVersion"]);

    const Json columns = table_columns(kind);
    const Json row = table_row(kind, created, IncludeObject::Metadata, clock_);
    EXPECT_EQ(columns.size(), row["cells"].size());
    EXPECT_TRUE(columns[0]["name"] == "Name" || kind.resource.plural == "events");
    for (std::size_t i = 0; i < columns.size(); ++i)
      EXPECT_EQ(columns[i]["type"] == "integer", row["cells"][i].is_number()) << columns[i];

    const auto removed = remove(kind.resource, "x");
    ASSERT_TRUE(removed);
    EXPECT_EQ(removed->gone, kind.resource.plural != "namespaces");
  }
  EXPECT_EQ(plurals,
            (std::set<std::string>{"configmaps", "controllerrevisions", "daemonsets", "deployments",
                                   "endpoints", "endpointslices", "events", "leases", "namespaces",
                                   "nodes", "pods", "replicasets", "secrets",
                                   "selfsubjectaccessreviews", "selfsubjectreviews",
                                   "selfsubjectrulesreviews", "serviceaccounts", "services"}));
}

// Hooks must stand documents no schema has seen: wrong types everywhere.
TEST_F(ResourcesTest, HooksStandWrongTypes) {
  for (const ResourceKind& kind : registry_->kinds())
    for (const Json& odd : {Json(3), Json("x"), Json::array({1, "x", Json::array()}),
                            Json{{"a", {{"b", 1}}}}, Json(nullptr), Json(true)})
      for (const char* field : {"spec", "data", "binaryData", "stringData", "subsets", "endpoints",
                                "ports", "addressType", "type", "immutable"}) {
        Json object = {{"metadata", {{"name", "odd"}}}, {field, odd}};
        (void)create(kind.resource, object, {.dry_run = true, .field_manager = ""});
        for (const char* inner :
             {"ports", "containers", "volumes", "clusterIP", "clusterIPs", "ipFamilies",
              "tolerations", "taints", "podCIDRs", "finalizers", "sessionAffinityConfig",
              "hostAliases", "dnsConfig", "nodeSelector", "selector", "template", "strategy",
              "updateStrategy", "replicas"}) {
          object["spec"] = {{inner, odd}};
          (void)create(kind.resource, object, {.dry_run = true, .field_manager = ""});
          (void)summarize_pod(object);
          (void)table_row(kind, object, IncludeObject::None, clock_);
        }
      }
  for (const char* field : {"labels", "annotations", "finalizers", "ownerReferences", "namespace",
                            "uid", "generateName"})
    for (const Json& odd : {Json(3), Json("x"), Json::array({1}), Json{{"a", 1}}})
      (void)create(resources::kConfigMaps, {{"metadata", {{"name", "odd"}, {field, odd}}}},
                   {.dry_run = true, .field_manager = ""});
}

TEST_F(ResourcesTest, PodDefaults) {
  const Json pod = make(
      resources::kPods,
      pod_with({{"volumes", {{{"name", "e"}}, {{"name", "c"}, {"configMap", {{"name", "x"}}}}}}},
               {{"ports", {{{"containerPort", 80}}}},
                {"resources", {{"limits", {{"cpu", "1"}}}}},
                {"readinessProbe", {{"httpGet", {{"port", 80}}}}}}));
  const Json& spec = pod["spec"];
  EXPECT_EQ(spec["restartPolicy"], "Always");
  EXPECT_EQ(spec["dnsPolicy"], "ClusterFirst");
  EXPECT_EQ(spec["securityContext"], Json::object());
  EXPECT_EQ(spec["schedulerName"], "default-scheduler");
  EXPECT_EQ(spec["terminationGracePeriodSeconds"], 30);
  EXPECT_EQ(spec["enableServiceLinks"], true);
  EXPECT_EQ(spec["serviceAccountName"], "default");
  const Json& container = spec["containers"][0];
  EXPECT_EQ(container["imagePullPolicy"], "Always");
  EXPECT_EQ(container["terminationMessagePath"], "/dev/termination-log");
  EXPECT_EQ(container["terminationMessagePolicy"], "File");
  EXPECT_EQ(container["ports"][0]["protocol"], "TCP");
  EXPECT_EQ(container["resources"]["requests"]["cpu"], "1");
  EXPECT_EQ(container["readinessProbe"],
            (Json{{"httpGet", {{"port", 80}, {"path", "/"}, {"scheme", "HTTP"}}},
                  {"timeoutSeconds", 1},
                  {"periodSeconds", 10},
                  {"successThreshold", 1},
                  {"failureThreshold", 3}}));
  EXPECT_EQ(spec["volumes"][0]["emptyDir"], Json::object());
  EXPECT_EQ(spec["volumes"][1]["configMap"]["defaultMode"], 420);
  EXPECT_EQ(pod["status"], (Json{{"phase", "Pending"}, {"qosClass", "Burstable"}}));
}

TEST_F(ResourcesTest, PullPolicyFollowsTheTag) {
  for (const auto& [image, policy] : {std::pair{"a", "Always"},
                                      {"a:latest", "Always"},
                                      {"a:1", "IfNotPresent"},
                                      {"r:5000/a", "Always"},
                                      {"r:5000/a:1", "IfNotPresent"},
                                      {"a@sha256:00", "IfNotPresent"}}) {
    Json pod = simple_pod("p");
    pod["spec"]["containers"][0]["image"] = image;
    const auto created = create(resources::kPods, pod, {.dry_run = true, .field_manager = ""});
    ASSERT_TRUE(created);
    EXPECT_EQ((*created)["spec"]["containers"][0]["imagePullPolicy"], policy) << image;
  }
}

TEST_F(ResourcesTest, PodsAreChecked) {
  const Resource& pods = resources::kPods;
  refused(pods, {{"metadata", {{"name", "p"}}}}, "spec.containers", "Required value");
  refused(pods, pod_with(Json::object(), {{"name", ""}}), "spec.containers[0].name",
          "Required value");
  refused(pods, pod_with(Json::object(), {{"name", "A"}}), "spec.containers[0].name",
          "a lowercase RFC 1123 label");
  refused(pods, pod_with(Json::object(), {{"image", ""}}), "spec.containers[0].image",
          "Required value");
  refused(pods,
          pod_with(
              {{"containers", {{{"name", "a"}, {"image", "x"}}, {{"name", "a"}, {"image", "x"}}}}}),
          "spec.containers[1].name", "Duplicate value: \"a\"");
  refused(pods, pod_with({{"restartPolicy", "Sometimes"}}), "spec.restartPolicy",
          "Unsupported value");
  refused(pods, pod_with({{"dnsPolicy", "None"}}), "spec.dnsConfig", "Required value");
  refused(pods, pod_with(Json::object(), {{"ports", {{{"containerPort", 70000}}}}}),
          "spec.containers[0].ports[0].containerPort", "must be between");
  refused(
      pods,
      pod_with(Json::object(),
               {{"ports",
                 {{{"name", "a"}, {"containerPort", 1}}, {{"name", "a"}, {"containerPort", 2}}}}}),
      "spec.containers[0].ports[1].name", "Duplicate value");
  refused(pods,
          pod_with(Json::object(), {{"volumeMounts", {{{"name", "v"}, {"mountPath", "/x"}}}}}),
          "spec.containers[0].volumeMounts[0].name", "Not found: \"v\"");
  refused(pods, pod_with({{"volumes", {{{"name", "v"}}, {{"name", "v"}}}}}), "spec.volumes[1].name",
          "Duplicate value");
  refused(
      pods,
      pod_with({{"volumes",
                 {{{"name", "v"}, {"emptyDir", Json::object()}, {"hostPath", {{"path", "/"}}}}}}}),
      "spec.volumes[0].hostPath", "may not specify more than 1 volume type");
  refused(pods, pod_with(Json::object(), {{"readinessProbe", {{"periodSeconds", 1}}}}),
          "spec.containers[0].readinessProbe", "must specify a handler type");
  refused(pods,
          pod_with(Json::object(),
                   {{"livenessProbe", {{"tcpSocket", {{"port", 1}}}, {"successThreshold", 2}}}}),
          "spec.containers[0].livenessProbe.successThreshold", "must be 1");
  refused(pods, pod_with(Json::object(), {{"resources", {{"limits", {{"cpu", "lots"}}}}}}),
          "spec.containers[0].resources.limits[cpu]", "quantities must match");
  refused(pods, pod_with(Json::object(), {{"env", {{{"name", "A=B"}}}}}),
          "spec.containers[0].env[0].name", "a valid environment variable name");
}

TEST_F(ResourcesTest, SourcesOfVariablesAndGraceOfProbesAreChecked) {
  const Resource& pods = resources::kPods;
  const auto variable = [](const Json& from) {
    return pod_with(Json::object(), {{"env", {{{"name", "X"}, {"valueFrom", from}}}}});
  };
  const std::string at = "spec.containers[0].env[0].valueFrom.";
  refused(pods, variable({{"fieldRef", {{"fieldPath", "spec.nonsense"}}}}),
          at + "fieldRef.fieldPath", "field label not supported: spec.nonsense");
  refused(pods, variable({{"fieldRef", {{"fieldPath", "metadata.labels['a b']"}}}}),
          at + "fieldRef.fieldPath", "name part must consist of");
  refused(pods, variable({{"resourceFieldRef", {{"resource", "limits.disks"}}}}),
          at + "resourceFieldRef.resource", "supported values");
  make(pods, [&] {
    Json pod = variable({{"fieldRef", {{"fieldPath", "metadata.annotations['example.com/a']"}}}});
    pod["spec"]["containers"][0]["env"].push_back(
        {{"name", "Y"},
         {"valueFrom", {{"resourceFieldRef", {{"resource", "limits.cpu"}, {"divisor", "1m"}}}}}});
    return pod;
  }());
  for (const auto& [probe, seconds, problem] :
       {std::tuple{"livenessProbe", 0, "must be greater than 0"},
        {"startupProbe", -1, "must be greater than 0"},
        {"readinessProbe", 5, "must not be set for readinessProbes"}})
    refused(
        pods,
        pod_with(
            Json::object(),
            {{probe, {{"tcpSocket", {{"port", 1}}}, {"terminationGracePeriodSeconds", seconds}}}}),
        std::string("spec.containers[0].") + probe + ".terminationGracePeriodSeconds", problem);
}

TEST_F(ResourcesTest, PodSpecsAreImmutableButForAFew) {
  make(resources::kPods, simple_pod("p"));
  EXPECT_TRUE(
      patch(resources::kPods, "p",
            {{"spec",
              {{"containers",
                {{{"name", "c"}, {"image", "other:1"}, {"imagePullPolicy", "Always"}}}}}}}));
  EXPECT_TRUE(patch(resources::kPods, "p",
                    {{"spec", {{"tolerations", {{{"key", "k"}, {"operator", "Exists"}}}}}}}));
  for (const Json& spec :
       {Json{{"restartPolicy", "Never"}}, Json{{"nodeName", "n"}}, Json{{"hostname", "x"}}}) {
    const auto changed = patch(resources::kPods, "p", {{"spec", spec}});
    ASSERT_FALSE(changed) << spec;
    EXPECT_EQ(changed.error().causes.at(0).field, "spec");
    EXPECT_EQ(changed.error().causes.at(0).reason, "FieldValueForbidden");
  }
  EXPECT_FALSE(patch(resources::kPods, "p", {{"spec", {{"tolerations", nullptr}}}}));
}

TEST_F(ResourcesTest, EndpointsAndSlicesAreChecked) {
  const auto endpoints = [](const Json& subset) {
    return Json{{"metadata", {{"name", "e"}}}, {"subsets", Json::array({subset})}};
  };
  refused(resources::kEndpoints, endpoints(Json::object()), "subsets[0]",
          "must specify `addresses` or `notReadyAddresses`");
  refused(resources::kEndpoints, endpoints({{"addresses", {{{"ip", "127.0.0.1"}}}}}),
          "subsets[0].addresses[0].ip", "loopback range");
  refused(resources::kEndpoints, endpoints({{"addresses", {{{"ip", "1.2.3"}}}}}),
          "subsets[0].addresses[0].ip", "must be a valid IP address");
  refused(resources::kEndpoints,
          endpoints({{"addresses", {{{"ip", "1.2.3.4"}}}}, {"ports", {{{"port", 0}}}}}),
          "subsets[0].ports[0].port", "must be between");
  const Json made =
      make(resources::kEndpoints,
           endpoints({{"addresses", {{{"ip", "10.1.2.3"}}}}, {"ports", {{{"port", 80}}}}}));
  EXPECT_EQ(made["subsets"][0]["ports"][0]["protocol"], "TCP");

  const auto slice = [](const Json& more) {
    Json out = {{"metadata", {{"name", "s"}}}, {"addressType", "IPv4"}};
    out.update(more);
    return out;
  };
  refused(resources::kEndpointSlices, slice({{"addressType", ""}}), "addressType",
          "Required value");
  refused(resources::kEndpointSlices, slice({{"endpoints", {{{"addresses", Json::array()}}}}}),
          "endpoints[0].addresses", "must contain at least 1 address");
  refused(resources::kEndpointSlices, slice({{"endpoints", {{{"addresses", {"fd00::1"}}}}}}),
          "endpoints[0].addresses[0]", "must be an IPv4 address");
  refused(resources::kEndpointSlices, slice({{"ports", {{{"port", 1}}, {{"port", 2}}}}}),
          "ports[1].name", "Duplicate value");
  const Json port =
      make(resources::kEndpointSlices, slice({{"ports", {{{"port", 1}}}}}))["ports"][0];
  EXPECT_EQ(port, (Json{{"name", ""}, {"port", 1}, {"protocol", "TCP"}}));
  EXPECT_FALSE(patch(resources::kEndpointSlices, "s", {{"addressType", "IPv6"}}));
}

TEST_F(ResourcesTest, ConfigMapsAndSecrets) {
  refused(resources::kConfigMaps, {{"metadata", {{"name", "c"}}}, {"data", {{"a b", ""}}}},
          "data[a b]", "a valid config key");
  refused(resources::kConfigMaps, {{"metadata", {{"name", "c"}}}, {"data", {{"..", ""}}}},
          "data[..]", "must not be '..'");
  refused(resources::kConfigMaps,
          {{"metadata", {{"name", "c"}}}, {"data", {{"a", std::string(1048577, 'x')}}}}, "",
          "may not be more than 1048576 bytes");
  refused(resources::kConfigMaps,
          {{"metadata", {{"name", "c"}}}, {"data", {{"a", ""}}}, {"binaryData", {{"a", ""}}}},
          "data[a]", "duplicate of key");
  make(resources::kConfigMaps,
       {{"metadata", {{"name", "fixed"}}}, {"immutable", true}, {"data", {{"a", "1"}}}});
  EXPECT_FALSE(patch(resources::kConfigMaps, "fixed", {{"data", {{"a", "2"}}}}));
  EXPECT_FALSE(patch(resources::kConfigMaps, "fixed", {{"immutable", nullptr}}));
  EXPECT_TRUE(patch(resources::kConfigMaps, "fixed", {{"metadata", {{"labels", {{"a", "b"}}}}}}));

  const Json secret = make(
      resources::kSecrets,
      {{"metadata", {{"name", "s"}}}, {"stringData", {{"a", "hello"}, {"b", ""}, {"c", "hi"}}}});
  EXPECT_EQ(secret["type"], "Opaque");
  EXPECT_EQ(secret["data"], (Json{{"a", "aGVsbG8="}, {"b", ""}, {"c", "aGk="}}));
  EXPECT_FALSE(secret.contains("stringData"));
  EXPECT_FALSE(patch(resources::kSecrets, "s", {{"type", "kubernetes.io/tls"}}));
  refused(resources::kSecrets, {{"metadata", {{"name", "t"}}}, {"type", "kubernetes.io/tls"}},
          "data[tls.crt]", "Required value");
}

TEST_F(ResourcesTest, NamespacesAndNodes) {
  const Json ns = make(resources::kNamespaces, {{"metadata", {{"name", "n"}}}});
  EXPECT_EQ(ns["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
  EXPECT_EQ(ns["spec"]["finalizers"], Json::array({"kubernetes"}));
  EXPECT_EQ(ns["status"]["phase"], "Active");
  refused(resources::kNamespaces, {{"metadata", {{"name", "a.b"}}}}, "metadata.name",
          "a lowercase RFC 1123 label");
  // The finalizer goes by way of the subresource only.
  EXPECT_TRUE(patch(resources::kNamespaces, "n", {{"spec", {{"finalizers", nullptr}}}}));
  EXPECT_EQ(stored(resources::kNamespaces, "n")["spec"]["finalizers"], Json::array({"kubernetes"}));

  make(resources::kNodes, {{"metadata", {{"name", "n1"}}}});
  const auto ranged = patch(resources::kNodes, "n1", {{"spec", {{"podCIDR", "10.42.0.0/24"}}}});
  ASSERT_TRUE(ranged) << ranged.error().message;
  EXPECT_EQ((*ranged)["spec"]["podCIDRs"], Json::array({"10.42.0.0/24"}));
  EXPECT_FALSE(patch(resources::kNodes, "n1",
                     {{"spec", {{"podCIDR", "10.42.1.0/24"}, {"podCIDRs", {"10.42.1.0/24"}}}}}));
  EXPECT_FALSE(
      patch(resources::kNodes, "n1", {{"spec", {{"taints", {{{"key", "k"}, {"effect", "X"}}}}}}}));
  EXPECT_TRUE(patch(resources::kNodes, "n1", {{"spec", {{"unschedulable", true}}}}));
}

TEST(FieldValue, ReadsWhatSelectorsName) {
  const Json pod = {{"metadata", {{"name", "p"}}},
                    {"spec", {{"nodeName", "n"}}},
                    {"status", {{"podIPs", {{{"ip", "1.2.3.4"}}}}}}};
  EXPECT_EQ(field_value(pod, "metadata.name"), "p");
  EXPECT_EQ(field_value(pod, "spec.nodeName"), "n");
  EXPECT_EQ(field_value(pod, "spec.hostNetwork"), "false");
  EXPECT_EQ(field_value(pod, "status.podIPs"), "1.2.3.4");
  EXPECT_EQ(field_value(pod, "metadata.name.more"), "");
  EXPECT_EQ(field_value({{"source", {{"component", "c"}}}}, "source"), "c");
  EXPECT_EQ(field_value({{"reportingComponent", "r"}}, "source"), "r");
}

}  // namespace
}  // namespace coracle
