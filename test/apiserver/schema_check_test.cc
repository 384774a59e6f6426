#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apiserver/schema.h"

namespace coracle {
namespace {

const SchemaType& type_of(const std::string& name) {
  return *Schema::instance().find(name);
}

struct Checked {
  Json document;
  std::string error;
  std::vector<std::string> warnings;
};

Checked check(const char* type, const char* text, FieldValidation validation) {
  Checked out;
  ParsedBody body = *parse_json_body(text);
  auto report = check_document(type_of(type), body.document, validation, body.duplicate_fields);
  if (!report) {
    EXPECT_EQ(report.error().code, Code::BadRequest);
    out.error = report.error().message;
  } else {
    out.warnings = report->warnings;
  }
  out.document = std::move(body.document);
  return out;
}

TEST(CheckDocument, RefusesWrongTypesByPath) {
  struct Case {
    const char* type;
    const char* document;
    const char* message;
  };
  const Case cases[] = {
      {"core.v1.Service", R"({"spec":{"ports":[{"port":1},{"port":"80"}]}})",
       "json: cannot unmarshal string into Go struct field ServicePort.spec.ports[1].port of type "
       "int32"},
      {"core.v1.Service", R"({"spec":{"ports":[{"port":4294967296}]}})", "spec.ports[0].port"},
      {"core.v1.Service", R"({"spec":{"ports":[{"port":1.5}]}})", "number 1.5"},
      {"core.v1.Service", R"({"spec":{"ports":{"port":80}}})",
       "object into Go struct field ServiceSpec.spec.ports of type array"},
      {"core.v1.Service", R"({"spec":{"ports":[{"targetPort":true}]}})", "targetPort"},
      {"core.v1.Service", R"({"spec":{"selector":{"a":1}}})",
       "ServiceSpec.spec.selector.a of type string"},
      {"core.v1.Service", R"({"spec":[]})", "spec of type object"},
      {"core.v1.Service", R"([])", "of type object"},
      {"core.v1.Service", R"({"metadata":{"labels":"x"}})",
       "ObjectMeta.metadata.labels of type map"},
      {"core.v1.Pod", R"({"spec":{"hostNetwork":"yes"}})", "of type bool"},
      {"core.v1.Pod", R"({"spec":{"containers":[{"name":"a","args":[null]}]}})", "args[0]"},
      {"core.v1.Pod", R"({"spec":{"containers":[{"resources":{"limits":{"cpu":"1 core"}}}]}})",
       "quantities must match"},
      {"core.v1.Pod", R"({"metadata":{"creationTimestamp":"yesterday"}})", "parsing time"},
      {"core.v1.Pod", R"({"metadata":{"creationTimestamp":"2026-13-01T00:00:00Z"}})",
       "parsing time"},
      {"core.v1.Secret", R"({"data":{"a":"not base64!"}})", "illegal base64 data at input byte 3"},
      {"core.v1.Secret", R"({"data":{"a":"YWJ"}})", "illegal base64"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.document);
    for (const FieldValidation v :
         {FieldValidation::Ignore, FieldValidation::Warn, FieldValidation::Strict}) {
      const Checked checked = check(c.type, c.document, v);
      EXPECT_NE(checked.error.find(c.message), std::string::npos) << checked.error;
    }
  }
}

TEST(CheckDocument, AcceptsWhatKubernetesAccepts) {
  const char* const documents[] = {
      R"({"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"100m","memory":"1Gi","x/y":1,"z":"1e3","w":"0.5","v":"+1E"}}}]}})",
      R"({"metadata":{"creationTimestamp":"2026-11-22T22:10:00.123456Z","deletionTimestamp":"2026-11-22T22:10:00+01:00"}})",
      R"({"spec":{"volumes":[{"name":"v","emptyDir":{}},{"name":"w","configMap":{"name":"c","defaultMode":420}}]}})",
      R"({"spec":{"containers":[{"name":"a","readinessProbe":{"httpGet":{"path":"/","port":"http"}}}]}})",
      R"({"metadata":{"managedFields":[{"manager":"x","fieldsV1":{"f:spec":{"f:a":{}}}}]}})",
  };
  for (const char* document : documents) {
    SCOPED_TRACE(document);
    EXPECT_EQ(check("core.v1.Pod", document, FieldValidation::Strict).error, "");
  }
}

TEST(CheckDocument, TreatsUnknownFieldsAsAsked) {
  const char* text = R"({"kind":"ConfigMap","datum":{"a":"b"},"metadata":{"name":"x","colour":1}})";
  const Checked strict = check("core.v1.ConfigMap", text, FieldValidation::Strict);
  EXPECT_EQ(strict.error,
            "strict decoding error: unknown field \"datum\", unknown field \"metadata.colour\"");
  const Checked warn = check("core.v1.ConfigMap", text, FieldValidation::Warn);
  EXPECT_EQ(warn.warnings, (std::vector<std::string>{"unknown field \"datum\"",
                                                     "unknown field \"metadata.colour\""}));
  const Checked ignore = check("core.v1.ConfigMap", text, FieldValidation::Ignore);
  EXPECT_TRUE(ignore.warnings.empty());
  const Json expected = {{"kind", "ConfigMap"}, {"metadata", {{"name", "x"}}}};
  EXPECT_EQ(warn.document, expected);
  EXPECT_EQ(ignore.document, expected);
}

TEST(CheckDocument, KnowsNoNamesOfProtobufOnlyMessages) {
  const Checked checked =
      check("core.v1.Pod", R"({"spec":{"volumes":[{"name":"v","volumeSource":{}}]}})",
            FieldValidation::Strict);
  EXPECT_EQ(checked.error, "strict decoding error: unknown field \"spec.volumes[0].volumeSource\"");
}

TEST(CheckDocument, ReportsDuplicatesWithTheirPath) {
  const char* text = R"({"spec":{"ports":[{"port":1},{"port":2,"port":3}]}})";
  EXPECT_EQ(check("core.v1.Service", text, FieldValidation::Strict).error,
            "strict decoding error: duplicate field \"spec.ports[1].port\"");
  EXPECT_EQ(check("core.v1.Service", text, FieldValidation::Warn).warnings.size(), 1U);
  EXPECT_EQ(
      check("core.v1.Service", text, FieldValidation::Ignore).document["spec"]["ports"][1]["port"],
      3);
}

TEST(CheckDocument, DropsNulls) {
  const Checked checked = check("core.v1.ConfigMap",
                                R"({"metadata":{"creationTimestamp":null,"name":"x"},"data":null})",
                                FieldValidation::Strict);
  EXPECT_EQ(checked.document, (Json{{"metadata", {{"name", "x"}}}}));
}

TEST(CheckDocument, BoundsItsAnswer) {
  Json document = Json::object();
  for (int i = 0; i < 5000; ++i) document["field" + std::to_string(i)] = 1;
  const auto result = check_document(type_of("core.v1.Pod"), document, FieldValidation::Strict, {});
  ASSERT_FALSE(result);
  EXPECT_LT(result.error().message.size(), 20000U);
}

TEST(SchemaDefaults, FillsOnlyWhatIsAbsent) {
  Json service = {{"spec", {{"ports", {{{"port", 80}}, {{"port", 53}, {"protocol", "UDP"}}}}}}};
  apply_schema_defaults(type_of("core.v1.Service"), service);
  EXPECT_EQ(service["spec"]["ports"][0]["protocol"], "TCP");
  EXPECT_EQ(service["spec"]["ports"][1]["protocol"], "UDP");
  EXPECT_FALSE(service["spec"].contains("type"));
  const Json once = service;
  apply_schema_defaults(type_of("core.v1.Service"), service);
  EXPECT_EQ(service, once);
}

TEST(SchemaDefaults, EveryTypeAcceptsItsOwnDefaults) {
  for (const auto& [name, type] : Schema::instance().types()) {
    if (type.fields.empty()) continue;
    SCOPED_TRACE(name);
    Json document = Json::object();
    apply_schema_defaults(type, document);
    EXPECT_TRUE(check_document(type, document, FieldValidation::Strict, {}));
  }
}

}  // namespace
}  // namespace coracle
