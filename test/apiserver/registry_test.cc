#include <apiserver/registry_errors.h>

#include <regex>
#include <thread>

#include "registry_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;
using resources::kNamespaces;
using resources::kPods;
using resources::kServices;

class RegistryTest : public RegistryFixture {};

TEST(StampResourceVersion, WorksOnAnyObjectText) {
  struct Case {
    const char *name, *text, *expected;
  };
  const Case cases[] = {
      {"replaces", R"({"metadata":{"name":"a","resourceVersion":"1"}})",
       R"({"metadata":{"name":"a","resourceVersion":"7"}})"},
      {"inserts", R"({"metadata":{"name":"a"}})",
       R"({"metadata":{"resourceVersion":"7","name":"a"}})"},
      {"empty metadata", R"({"metadata":{}})", R"({"metadata":{"resourceVersion":"7"}})"},
      {"no metadata", R"({"a":1})", R"({"metadata":{"resourceVersion":"7"},"a":1})"},
      {"empty", R"({})", R"({"metadata":{"resourceVersion":"7"}})"},
      {"decoys before",
       R"({"data":{"metadata":{"resourceVersion":"x"},"s":"\"metadata\":{"},"metadata":{"a":[{"resourceVersion":"x"}]}})",
       R"({"data":{"metadata":{"resourceVersion":"x"},"s":"\"metadata\":{"},"metadata":{"resourceVersion":"7","a":[{"resourceVersion":"x"}]}})"},
      {"nested first",
       R"({"metadata":{"labels":{"resourceVersion":"x"},"resourceVersion":"3","uid":"u"}})",
       R"({"metadata":{"labels":{"resourceVersion":"x"},"resourceVersion":"7","uid":"u"}})"},
      {"bare value", R"({"metadata":{"resourceVersion":null}})",
       R"({"metadata":{"resourceVersion":"7"}})"},
      {"no object", "[1]", "[1]"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string once = stamp_resource_version(c.text, 7);
    EXPECT_EQ(once, c.expected);
    EXPECT_EQ(stamp_resource_version(once, 7), once);
  }
  for (const char* broken : {"", "{", "{\"", "{\"metadata", "{\"metadata\":", "{\"metadata\":{",
                             "{\"a\\", "{\"metadata\":{\"resourceVersion\":\""})
    (void)stamp_resource_version(broken, 7);
}

TEST(StorageKey, NamesGroupKindNamespaceAndName) {
  EXPECT_EQ(storage_key(kPods, {"ns", "a"}), "/core/pods/ns/a");
  EXPECT_EQ(storage_key(kNamespaces, {"", "a"}), "/core/namespaces/a");
  EXPECT_EQ(storage_key(resources::kLeases, {"ns", "a"}), "/coordination.k8s.io/leases/ns/a");
  EXPECT_EQ(storage_prefix(kPods, ""), "/core/pods/");
  EXPECT_EQ(storage_prefix(kPods, "ns"), "/core/pods/ns/");
}

TEST_F(RegistryTest, CreateFillsServerOwnedMetadata) {
  Json body = config_map("a");
  body["metadata"].update({{"uid", "mine"},
                           {"creationTimestamp", nullptr},
                           {"managedFields", Json::array()},
                           {"generation", 9},
                           {"deletionTimestamp", "2020-01-01T00:00:00Z"},
                           {"selfLink", "x"}});
  const Json created = make(kConfigMaps, body);
  const Json& metadata = created["metadata"];
  EXPECT_TRUE(std::regex_match(
      metadata["uid"].get<std::string>(),
      std::regex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")));
  EXPECT_EQ(metadata["creationTimestamp"], "2026-01-02T03:04:05Z");
  EXPECT_EQ(metadata["namespace"], "default");
  for (const char* gone : {"managedFields", "selfLink", "deletionTimestamp", "generation"})
    EXPECT_FALSE(metadata.contains(gone)) << gone;
  EXPECT_EQ(created["kind"], "ConfigMap");
  EXPECT_EQ(created["apiVersion"], "v1");
  EXPECT_EQ(stored(kConfigMaps, "a"), created);
}

TEST_F(RegistryTest, CreateRefusals) {
  make(kConfigMaps, config_map("there"));
  struct Case {
    const char* name;
    Json object;
    Code code;
    std::string message;
  };
  Json other_ns = config_map("a");
  other_ns["metadata"]["namespace"] = "other";
  Json versioned = config_map("a");
  versioned["metadata"]["resourceVersion"] = "5";
  const Case cases[] = {
      {"exists", config_map("there"), Code::AlreadyExists, "configmaps \"there\" already exists"},
      {"other namespace", other_ns, Code::BadRequest,
       "the namespace of the provided object does not match the namespace sent on the request"},
      {"resourceVersion", versioned, Code::BadRequest,
       "resourceVersion should not be set on objects to be created"},
      {"no name",
       {{"metadata", Json::object()}},
       Code::Invalid,
       "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is "
       "required"},
      {"not an object", Json::array(), Code::BadRequest,
       "the object provided is not a JSON object"},
      {"bad metadata", {{"metadata", 3}}, Code::BadRequest, "metadata is not a JSON object"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto created = create(kConfigMaps, c.object);
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code, c.code);
    EXPECT_EQ(created.error().message, c.message);
  }
}

TEST_F(RegistryTest, CreateNeedsALivingNamespace) {
  auto created = registry_->create(kind(kConfigMaps), "missing", config_map("a"), {});
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().message, "namespaces \"missing\" not found");
  EXPECT_EQ(created.error().code, Code::NotFound);

  make(kNamespaces, {{"metadata", {{"name", "dying"}}}});
  const auto removed = remove(kNamespaces, "dying");
  ASSERT_TRUE(removed);
  EXPECT_FALSE(removed->gone);
  EXPECT_EQ(removed->object["status"]["phase"], "Terminating");
  created = registry_->create(kind(kConfigMaps), "dying", config_map("a"), {});
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::Forbidden);
  EXPECT_EQ(created.error().message,
            "configmaps \"a\" is forbidden: unable to create new content in namespace dying "
            "because it is being terminated");
  ASSERT_EQ(created.error().causes.size(), 1U);
  EXPECT_EQ(created.error().causes[0].reason, "NamespaceTerminating");

  // The namespace controller is done.
  const auto finalized = update(
      kNamespaces, {{"metadata", {{"name", "dying"}}}, {"spec", {{"finalizers", Json::array()}}}},
      "finalize");
  ASSERT_TRUE(finalized) << finalized.error().message;
  EXPECT_TRUE(stored(kNamespaces, "dying").is_null());
}

TEST_F(RegistryTest, BuiltInNamespacesStay) {
  const auto removed = remove(kNamespaces, "default");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().message,
            "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

TEST_F(RegistryTest, GenerateNameAppendsFiveLetters) {
  const Json created = make(kConfigMaps, {{"metadata", {{"generateName", std::string(70, 'x')}}}});
  const std::string name = json_string(created, {"metadata", "name"});
  EXPECT_TRUE(std::regex_match(name, std::regex("x{58}[bcdfghjklmnpqrstvwxz2456789]{5}"))) << name;
  const Json ns = make(kNamespaces, {{"metadata", {{"generateName", "team-"}}}});
  EXPECT_EQ(ns["metadata"]["labels"]["kubernetes.io/metadata.name"], ns["metadata"]["name"]);
}

TEST_F(RegistryTest, DryRunStoresNothing) {
  const Revision before = registry_->revision();
  const auto created =
      create(kServices, simple_service("s"), {.dry_run = true, .field_manager = ""});
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_FALSE((*created)["metadata"].contains("resourceVersion"));
  EXPECT_TRUE((*created)["metadata"].contains("uid"));
  EXPECT_TRUE(stored(kServices, "s").is_null());
  make(kConfigMaps, config_map("a"));
  const Revision after = registry_->revision();
  ASSERT_TRUE(
      patch(kConfigMaps, "a", {{"data", {{"b", "2"}}}}, {.dry_run = true, .field_manager = ""}));
  ASSERT_TRUE(registry_->remove(kind(kConfigMaps), {"default", "a"}, {},
                                {.dry_run = true, .field_manager = ""}));
  EXPECT_EQ(registry_->revision(), after);
  EXPECT_EQ(stored(kConfigMaps, "a")["data"].size(), 1U);
  EXPECT_GT(after, before);
}

TEST_F(RegistryTest, StaleOrForeignUpdatesConflict) {
  const Json first = make(kConfigMaps, config_map("a"));
  Json second = first;
  second["data"]["a"] = "2";
  const auto updated = update(kConfigMaps, second);
  ASSERT_TRUE(updated) << updated.error().message;
  const auto stale = update(kConfigMaps, second);
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Code::Conflict);
  EXPECT_EQ(stale.error().message,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; "
            "please apply your changes to "
            "the latest version and try again");
  Json foreign = *updated;
  foreign["metadata"]["uid"] = "other";
  const auto refused = update(kConfigMaps, foreign);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::Conflict);
  EXPECT_NE(refused.error().message.find("Precondition failed: UID in precondition: other"),
            std::string::npos);
  // Without a version it is unconditional.
  EXPECT_TRUE(update(kConfigMaps, config_map("a")));
  for (const char* bad : {"abc", "-1", "99999999999999999999"}) {
    Json odd = config_map("a");
    odd["metadata"]["resourceVersion"] = bad;
    const auto answer = update(kConfigMaps, odd);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::BadRequest);
  }
  const auto missing = update(kConfigMaps, config_map("nobody"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "configmaps \"nobody\" not found");
}

TEST_F(RegistryTest, PatchCarryingAVersionIsALock) {
  const Json first = make(kConfigMaps, config_map("a"));
  ASSERT_TRUE(patch(kConfigMaps, "a", {{"data", {{"a", "2"}}}}));
  const auto stale =
      patch(kConfigMaps, "a",
            {{"metadata", {{"resourceVersion", revision_of(first)}}}, {"data", {{"a", "3"}}}});
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Code::Conflict);
  const auto renamed = patch(kConfigMaps, "a", {{"metadata", {{"name", "b"}}}});
  ASSERT_FALSE(renamed);
}

TEST_F(RegistryTest, WritesWithoutChangeKeepTheRevision) {
  for (const auto& [resource, object] :
       std::vector<std::pair<Resource, Json>>{{kConfigMaps, config_map("a")},
                                              {kPods, simple_pod("a")},
                                              {kServices, simple_service("a")}}) {
    SCOPED_TRACE(resource.plural);
    const Json created = make(resource, object);
    const auto same = update(resource, created);
    ASSERT_TRUE(same) << same.error().message;
    EXPECT_EQ(*same, created);
    const auto manifest = update(resource, object);
    ASSERT_TRUE(manifest) << manifest.error().message;
    EXPECT_EQ(revision_of(*manifest), revision_of(created)) << manifest->dump() << created.dump();
    EXPECT_TRUE(patch(resource, "a", Json::object()));
    EXPECT_EQ(stored(resource, "a"), created);
  }
}

TEST_F(RegistryTest, SpecAndStatusAreWrittenApart) {
  Json body = simple_service("s");
  body["status"] = {{"loadBalancer", {{"ingress", Json::array({{{"ip", "1.2.3.4"}}})}}}};
  Json service = make(kServices, body);
  EXPECT_TRUE(service["status"]["loadBalancer"].empty());

  Json changed = service;
  changed["spec"]["selector"] = {{"x", "y"}};
  changed["status"] = {{"loadBalancer", {{"ingress", Json::array({{{"ip", "1.2.3.4"}}})}}}};
  auto status = update(kServices, changed, "status");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_FALSE((*status)["spec"].contains("selector"));
  EXPECT_EQ((*status)["status"]["loadBalancer"]["ingress"][0]["ip"], "1.2.3.4");

  changed = *status;
  changed["spec"]["selector"] = {{"x", "y"}};
  changed.erase("status");
  const auto spec = update(kServices, changed);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ((*spec)["status"]["loadBalancer"]["ingress"][0]["ip"], "1.2.3.4");
}

TEST_F(RegistryTest, GenerationsCountChangesOfTheSpecWhereTheKindHasThem) {
  EXPECT_FALSE(make(kServices, simple_service("s"))["metadata"].contains("generation"));
  Json pod = make(kPods, simple_pod("p"));
  EXPECT_EQ(pod["metadata"]["generation"], 1);
  const auto labelled = patch(kPods, "p", {{"metadata", {{"labels", {{"l", "v"}}}}}});
  ASSERT_TRUE(labelled) << labelled.error().message;
  EXPECT_EQ((*labelled)["metadata"]["generation"], 1);
  pod = *labelled;
  pod["spec"]["containers"][0]["image"] = "other";
  const auto changed = update(kPods, pod);
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_EQ((*changed)["metadata"]["generation"], 2);
}

TEST_F(RegistryTest, EmptyMetadataIsLeftOut) {
  Json pod = simple_pod("p");
  pod["metadata"]["annotations"] = Json::object();
  EXPECT_FALSE(make(kPods, pod)["metadata"].contains("annotations"));
  ASSERT_TRUE(patch(kPods, "p", {{"metadata", {{"labels", {{"l", "v"}}}}}}));
  const auto patched = patch(kPods, "p", {{"metadata", {{"labels", {{"l", nullptr}}}}}});
  ASSERT_TRUE(patched) << patched.error().message;
  EXPECT_FALSE((*patched)["metadata"].contains("labels"));
}

TEST_F(RegistryTest, MetadataIsChecked) {
  Json body = config_map("Bad_Name");
  body["metadata"]["labels"] = {{"ok", "not ok"}, {"a/b/c", "x"}};
  body["metadata"]["annotations"] = {{"-", ""}};
  body["metadata"]["ownerReferences"] = Json::array({{{"kind", "Pod"}}});
  body["metadata"]["finalizers"] = {"?"};
  const auto created = create(kConfigMaps, body);
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::Invalid);
  std::vector<std::string> fields;
  for (const Cause& cause : created.error().causes) fields.push_back(cause.field);
  EXPECT_EQ(fields,
            (std::vector<std::string>{
                "metadata.name", "metadata.labels", "metadata.labels", "metadata.annotations",
                "metadata.ownerReferences[0].apiVersion", "metadata.ownerReferences[0].name",
                "metadata.ownerReferences[0].uid", "metadata.finalizers"}));
  EXPECT_NE(
      created.error().causes[0].message.find("a lowercase RFC 1123 subdomain must consist of"),
      std::string::npos);
  Json huge = config_map("a");
  huge["metadata"]["annotations"] = {{"a", std::string(262145, 'x')}};
  const auto big = create(kConfigMaps, huge);
  ASSERT_FALSE(big);
  EXPECT_EQ(big.error().causes.at(0).message, "Too long: may not be more than 262144 bytes");
}

TEST_F(RegistryTest, CreationTimeIsImmutable) {
  Json object = make(kConfigMaps, config_map("a"));
  object["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z";
  const auto updated = update(kConfigMaps, object);
  ASSERT_FALSE(updated);
  EXPECT_EQ(updated.error().causes.at(0).field, "metadata.creationTimestamp");
}

TEST_F(RegistryTest, ConcurrentPatchesAllLand) {
  make(kConfigMaps, config_map("a"));
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([this, t] {
      for (int i = 0; i < 25; ++i) {
        const std::string field = "k" + std::to_string(t) + "-" + std::to_string(i);
        EXPECT_TRUE(patch(kConfigMaps, "a", {{"data", {{field, "x"}}}}));
      }
    });
  threads.clear();
  EXPECT_EQ(stored(kConfigMaps, "a")["data"].size(), 101U);
}

TEST(RegistryErrors, NameGroupsAsKubernetesDoes) {
  EXPECT_EQ(not_found(resources::kEndpointSlices, "x").message,
            "endpointslices.discovery.k8s.io \"x\" not found");
  FieldErrors errors;
  errors.invalid("spec.ports[0].port", 0, "must be between 1 and 65535, inclusive");
  EXPECT_EQ(invalid(kServices, "x", errors).message,
            "Service \"x\" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and "
            "65535, inclusive");
  errors.not_supported("spec.type", "X", {"A", "B"});
  EXPECT_EQ(
      invalid(resources::kEndpointSlices, "x", errors).message,
      "EndpointSlice.discovery.k8s.io \"x\" is invalid: [spec.ports[0].port: Invalid value: 0: "
      "must be between 1 and "
      "65535, inclusive, spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\"]");
}

}  // namespace
}  // namespace coracle
