#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apiserver/handlers_media.h"
#include "apiserver/protobuf.h"
#include "apiserver/registry.h"
#include "apiserver/schema.h"

namespace coracle {
namespace {

std::string repeat(const std::string& text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(JsonBody, ReadsADocument) {
  const auto body = parse_json_body(R"({"a":[1,-2,3.5,"x",true,null,{"b":{}}]})");
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_EQ(body->document.dump(), R"({"a":[1,-2,3.5,"x",true,null,{"b":{}}]})");
  EXPECT_TRUE(body->duplicate_fields.empty());
}

TEST(JsonBody, RefusesWhatIsNoJson) {
  const std::string bodies[] = {"",
                                " ",
                                "{",
                                "{\"a\":}",
                                "{\"a\":1}}",
                                "[1,]",
                                "nul",
                                "{'a':1}",
                                "{\"a\":1e999}",
                                "\"\xff\"",
                                "\"\\ud800\"",
                                "{\"a\" 1}",
                                std::string("\0", 1),
                                "{\"a\":1} x"};
  for (const std::string& text : bodies) {
    SCOPED_TRACE(text);
    const auto body = parse_json_body(text);
    ASSERT_FALSE(body);
    EXPECT_EQ(body.error().code, Code::BadRequest);
    EXPECT_LT(body.error().message.size(), 600U);
  }
}

TEST(JsonBody, SurvivesDeepNesting) {
  for (const std::size_t depth : {1001U, 10000U, 1000000U}) {
    for (const char* open : {"[", "{\"a\":", "[{\"a\":"}) {
      const auto body = parse_json_body(repeat(open, depth));
      ASSERT_FALSE(body);
      EXPECT_EQ(body.error().code, Code::BadRequest);
      EXPECT_NE(body.error().message.find("depth"), std::string::npos);
    }
  }
  EXPECT_TRUE(parse_json_body(repeat("[", 1000) + repeat("]", 1000)));
}

TEST(JsonBody, NamesDuplicatesByPath) {
  const auto body = parse_json_body(R"({"a":1,"b":{"c":[{"d":1},{"d":1,"d":2}]},"a":2})");
  ASSERT_TRUE(body);
  EXPECT_EQ(body->duplicate_fields, (std::vector<std::string>{"b.c[1].d", "a"}));
  EXPECT_EQ(body->document["a"], 2);
}

TEST(JsonBody, HoldsNoMillionValues) {
  EXPECT_TRUE(parse_json_body("[" + repeat("{},", 100'000) + "{}]"));
  EXPECT_FALSE(parse_json_body("[" + repeat("{},", 500'000) + "{}]"));
  EXPECT_FALSE(parse_json_body("[" + repeat("1,", 500'000) + "1]"));
  EXPECT_FALSE(parse_yaml_body("[" + repeat("1,", 500'000) + "1]"));
  for (const int containers : {10'000, 300'000}) {
    std::string type, spec, pod, envelope("k8s\0", 4);
    protobuf::append_bytes(type, 1, "v1");
    protobuf::append_bytes(type, 2, "Pod");
    for (int i = 0; i < containers; ++i) protobuf::append_bytes(spec, 2, "");
    protobuf::append_bytes(pod, 2, spec);
    protobuf::append_bytes(envelope, 1, type);
    protobuf::append_bytes(envelope, 2, pod);
    EXPECT_EQ(parse_protobuf_body(envelope).has_value(), containers == 10'000) << containers;
  }
}

TEST(FieldErrors, AreNotListedForEver) {
  FieldErrors errors;
  for (int i = 0; i < 5'000; ++i)
    errors.required("spec.containers[" + std::to_string(i) + "].name");
  EXPECT_EQ(errors.causes().size(), 1'001U);
}

TEST(JsonBody, NamesDuplicatesBriefly) {
  const std::string key(100'000, 'k');
  const auto parsed =
      parse_json_body("{\"" + key + "\":{\"a\":1,\"a\":2,\"" + key + "\":1,\"" + key + "\":2}}");
  ASSERT_TRUE(parsed);
  ASSERT_EQ(parsed->duplicate_fields.size(), 2U);
  for (const std::string& field : parsed->duplicate_fields) EXPECT_LT(field.size(), 3'000U);
}

TEST(YamlBody, ReadsScalarsAsKubernetesDoes) {
  struct Case {
    const char* text;
    Json value;
  };
  const Case cases[] = {{"1", 1},
                        {"-7", -7},
                        {"+7", 7},
                        {"0x1F", 31},
                        {"0o17", 15},
                        {"0644", 420},
                        {"0", 0},
                        {"1.5", 1.5},
                        {"1e3", 1000.0},
                        {"true", true},
                        {"False", false},
                        {"null", nullptr},
                        {"~", nullptr},
                        {"yes", "yes"},
                        {"on", "on"},
                        {"\"1\"", "1"},
                        {"'true'", "true"},
                        {"!!str 1", "1"},
                        {"1.2.3", "1.2.3"},
                        {"10.0.0.1", "10.0.0.1"},
                        {".5", 0.5},
                        {"0.1.", "0.1."},
                        {"08", 8},
                        {"-", Json::array({nullptr})},
                        {"2026-11-22T22:10:00Z", "2026-11-22T22:10:00Z"},
                        {"1_000", "1_000"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const auto body =
        parse_yaml_body(std::string("a: ") + (std::string(c.text) == "-" ? "\n- " : c.text));
    ASSERT_TRUE(body) << body.error().message;
    EXPECT_EQ(body->document["a"], c.value) << body->document.dump();
  }
}

TEST(YamlBody, ReadsAManifest) {
  const auto body = parse_yaml_body(R"(apiVersion: v1
kind: Service
metadata:
  name: web   # a comment
  labels: {app: web, "tier": 'front'}
spec:
  ports:
  - port: 80
    targetPort: http
  - {port: 443}
  selector:
    app: web
  externalName: >-
    folded
    text
---
kind: Second
)");
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_EQ(body->document,
            Json::parse(R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web",
    "labels":{"app":"web","tier":"front"}},"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":443}],
    "selector":{"app":"web"},"externalName":"folded text"}})"));
  EXPECT_TRUE(parse_yaml_body(R"({"kind":"Pod","spec":{"x":[1]}})"));
}

TEST(YamlBody, KnowsAnchorsAndMergeKeys) {
  const auto body = parse_yaml_body("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\ncopy: *b\n");
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_EQ(body->document["other"], (Json{{"x", 1}, {"y", 3}}));
  EXPECT_EQ(body->document["copy"], (Json{{"x", 1}, {"y", 2}}));
  EXPECT_FALSE(parse_yaml_body("a: {<<: 3}"));
}

TEST(YamlBody, NamesDuplicatesByPath) {
  const auto body = parse_yaml_body("spec:\n  ports:\n  - port: 1\n    port: 2\n");
  ASSERT_TRUE(body);
  EXPECT_EQ(body->duplicate_fields, (std::vector<std::string>{"spec.ports[0].port"}));
}

TEST(YamlBody, RefusesBombsAndNonsense) {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + repeat(last + ", ", 9) +
              last + "]\n";
  }
  const std::string big =
      "a: &a " + std::string(1 << 20, 'x') + "\nb: [" + repeat("*a, ", 10000) + "]\n";
  const std::string bodies[] = {laughs,
                                big,
                                "",
                                "# nothing\n",
                                "a: [1",
                                "a: *nowhere",
                                "a: &a [*a]",
                                "? [a]\n: 1",
                                "\ta: 1",
                                "a: b: c",
                                "a: \"\\xff",
                                "a: \xff\xfe",
                                "%YAML 9.9\n",
                                std::string("a: \0", 4),
                                "a: }",
                                "- a\nb: 1"};
  for (const std::string& text : bodies) {
    SCOPED_TRACE(text.substr(0, 60));
    const auto body = parse_yaml_body(text);
    if (body) continue;  // a few are odd but legal YAML; what counts is that nothing breaks
    EXPECT_EQ(body.error().code, Code::BadRequest);
    EXPECT_LT(body.error().message.size(), 600U);
  }
  EXPECT_FALSE(parse_yaml_body(laughs));
  EXPECT_FALSE(parse_yaml_body(big));
  EXPECT_FALSE(parse_yaml_body(""));
  EXPECT_FALSE(parse_yaml_body("a: \xff\xfe"));
}

TEST(YamlBody, ReadsWhatIsPrinted) {
  const std::string names[] = {"plain",
                               "yes",
                               "",
                               "?",
                               "? a",
                               "a: b",
                               "- a",
                               "#",
                               "two\nlines",
                               "\"",
                               "\\",
                               "\u00e4\u2028\u0085",
                               std::string("\0", 1),
                               std::string(998, 'k'),
                               std::string(999, 'k'),
                               std::string(1024, 'k'),
                               std::string(70'000, 'k'),
                               repeat("\u00e4", 600),
                               repeat("\n", 600)};
  for (const std::string& name : names) {
    for (const Json& member :
         {Json(1), Json("text"), Json::object(), Json::array(), Json{{name, {1, 2}}},
          Json::array({{{name, 1}, {"z", 2}}, {{name, {{name, {}}}}}})}) {
      const Json document = {{name, member}, {"zz", {{name, member}}}};
      const std::string text = to_yaml(document);
      const auto body = parse_yaml_body(text);
      ASSERT_TRUE(body) << body.error().message << "\n" << text.substr(0, 300);
      EXPECT_EQ(body->document, document) << text.substr(0, 300);
    }
  }
}

// Deep values are printed in flow style, where our reader has the same limit.
TEST(YamlBody, ReadsLongKeysInTheDepth) {
  for (const std::size_t length : {1, 1000, 1024, 70'000}) {
    Json document = {{std::string(length, 'k'), 1}, {"z", Json::object()}};
    for (int i = 0; i < 100; ++i)
      document = i % 2 == 0 ? Json{{std::string(length, 'k'), document}} : Json::array({document});
    const auto body = parse_yaml_body(to_yaml(document));
    ASSERT_TRUE(body) << length << ": " << body.error().message;
    EXPECT_EQ(body->document, document) << length;
  }
}

TEST(YamlBody, SurvivesDeepNesting) {
  for (const char* open : {"[", "{a: ", "- ", "? "}) {
    SCOPED_TRACE(open);
    const auto body = parse_yaml_body(repeat(open, 20000));
    ASSERT_FALSE(body);
    EXPECT_EQ(body.error().code, Code::BadRequest);
  }
}

}  // namespace
}  // namespace coracle
