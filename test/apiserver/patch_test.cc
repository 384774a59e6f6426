#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apiserver/schema.h"

namespace coracle {
namespace {

struct Case {
  const char* name;
  const char* document;
  const char* patch;
  const char* result;  // "" = the patch is refused
};

TEST(MergePatch, FollowsTheRfc) {
  // The examples of RFC 7396, appendix A, as far as they are objects.
  const Case cases[] = {
      {"replace", R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {"add", R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {"delete", R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {"list", R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {"to list", R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
      {"nested", R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {"list of objects", R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {"scalar becomes object", R"({"a":"foo"})", R"({"a":{"b":{"c":null}}})", R"({"a":{"b":{}}})"},
      {"keeps null", R"({"e":null})", R"({"a":1})", R"({"a":1,"e":null})"},
      {"no object", R"({"a":1})", R"([1])", ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto result = apply_json_merge_patch(Json::parse(c.document), Json::parse(c.patch));
    ASSERT_EQ(result.has_value(), *c.result != '\0');
    if (result) {
      EXPECT_EQ(*result, Json::parse(c.result)) << result->dump();
    }
  }
}

TEST(JsonPatch, FollowsTheRfc) {
  const Case cases[] = {
      {"add member", R"({"a":1})", R"([{"op":"add","path":"/b","value":2}])", R"({"a":1,"b":2})"},
      {"add element", R"({"a":[1,3]})", R"([{"op":"add","path":"/a/1","value":2}])",
       R"({"a":[1,2,3]})"},
      {"append", R"({"a":[1]})", R"([{"op":"add","path":"/a/-","value":2}])", R"({"a":[1,2]})"},
      {"add at the end", R"({"a":[1]})", R"([{"op":"add","path":"/a/1","value":2}])",
       R"({"a":[1,2]})"},
      {"add replaces", R"({"a":1})", R"([{"op":"add","path":"/a","value":2}])", R"({"a":2})"},
      {"remove", R"({"a":1,"b":2})", R"([{"op":"remove","path":"/a"}])", R"({"b":2})"},
      {"remove element", R"({"a":[1,2,3]})", R"([{"op":"remove","path":"/a/1"}])",
       R"({"a":[1,3]})"},
      {"replace", R"({"a":1})", R"([{"op":"replace","path":"/a","value":{"x":1}}])",
       R"({"a":{"x":1}})"},
      {"replace whole", R"({"a":1})", R"([{"op":"replace","path":"","value":{"b":1}}])",
       R"({"b":1})"},
      {"move", R"({"a":1,"b":{}})", R"([{"op":"move","from":"/a","path":"/b/c"}])",
       R"({"b":{"c":1}})"},
      {"move in list", R"({"a":[1,2,3]})", R"([{"op":"move","from":"/a/0","path":"/a/2"}])",
       R"({"a":[2,3,1]})"},
      {"copy", R"({"a":[1]})", R"([{"op":"copy","from":"/a","path":"/b"}])",
       R"({"a":[1],"b":[1]})"},
      {"test", R"({"a":[1,{"x":2}]})", R"([{"op":"test","path":"/a/1","value":{"x":2}}])",
       R"({"a":[1,{"x":2}]})"},
      {"escapes", R"({"a/b":1,"m~n":2})",
       R"([{"op":"remove","path":"/a~1b"},{"op":"replace","path":"/m~0n","value":3}])",
       R"({"m~n":3})"},
      {"empty", R"({"a":1})", R"([])", R"({"a":1})"},
      {"test fails", R"({"a":1})", R"([{"op":"test","path":"/a","value":2}])", ""},
      {"test absent", R"({"a":1})", R"([{"op":"test","path":"/b","value":2}])", ""},
      {"remove absent", R"({"a":1})", R"([{"op":"remove","path":"/b"}])", ""},
      {"replace absent", R"({"a":1})", R"([{"op":"replace","path":"/b","value":1}])", ""},
      {"no parent", R"({"a":1})", R"([{"op":"add","path":"/b/c","value":1}])", ""},
      {"below a scalar", R"({"a":"x"})", R"([{"op":"add","path":"/a/c","value":1}])", ""},
      {"remove below a scalar", R"({"a":"x"})", R"([{"op":"remove","path":"/a/c"}])", ""},
      {"index too high", R"({"a":[1]})", R"([{"op":"add","path":"/a/3","value":1}])", ""},
      {"index leading zero", R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/01"}])", ""},
      {"index negative", R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/-1"}])", ""},
      {"index huge", R"({"a":[1]})", R"([{"op":"remove","path":"/a/99999999999999999999"}])", ""},
      {"remove dash", R"({"a":[1]})", R"([{"op":"remove","path":"/a/-"}])", ""},
      {"remove root", R"({"a":1})", R"([{"op":"remove","path":""}])", ""},
      {"move into itself", R"({"a":{"b":1}})", R"([{"op":"move","from":"/a","path":"/a/b"}])", ""},
      {"unknown op", R"({"a":1})", R"([{"op":"frob","path":"/a"}])", ""},
      {"no op", R"({"a":1})", R"([{"path":"/a"}])", ""},
      {"no path", R"({"a":1})", R"([{"op":"remove"}])", ""},
      {"no value", R"({"a":1})", R"([{"op":"add","path":"/b"}])", ""},
      {"no from", R"({"a":1})", R"([{"op":"copy","path":"/b"}])", ""},
      {"bad pointer", R"({"a":1})", R"([{"op":"remove","path":"a"}])", ""},
      {"bad escape", R"({"a":1})", R"([{"op":"remove","path":"/a~2"}])", ""},
      {"no list", R"({"a":1})", R"({"op":"remove","path":"/a"})", ""},
      {"no object", R"({"a":1})", R"([1])", ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto result = apply_json_patch(Json::parse(c.document), Json::parse(c.patch));
    ASSERT_EQ(result.has_value(), *c.result != '\0')
        << (result ? result->dump() : result.error().message);
    if (result) {
      EXPECT_EQ(*result, Json::parse(c.result)) << result->dump();
    }
  }
}

TEST(JsonPatch, CannotBlowUp) {
  Json doubling = Json::array({{{"op", "add"}, {"path", "/a"}, {"value", std::string(1000, 'x')}}});
  for (int i = 0; i < 60; ++i)
    doubling.push_back({{"op", "copy"}, {"from", ""}, {"path", "/a" + std::to_string(i)}});
  EXPECT_FALSE(apply_json_patch(Json::object(), doubling));

  std::string deep;
  for (int i = 0; i < 900; ++i) deep += "/a";
  Json value = 1;
  for (int i = 0; i < 900; ++i) value = Json{{"a", value}};
  const Json nested = Json::array({{{"op", "add"}, {"path", "/a"}, {"value", value}},
                                   {{"op", "add"}, {"path", "/b"}, {"value", value}},
                                   {{"op", "move"}, {"from", "/b"}, {"path", deep}}});
  EXPECT_FALSE(apply_json_patch(Json::object(), nested));

  Json many = Json::array();
  for (int i = 0; i < 10001; ++i) many.push_back({{"op", "test"}, {"path", ""}, {"value", 1}});
  const auto result = apply_json_patch(Json::object(), many);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::TooLarge);

  const Json list = {{"a", Json::array_t(200'000, 0)}};
  Json shifts = Json::array();
  for (int i = 0; i < 400; ++i) shifts.push_back({{"op", "add"}, {"path", "/a/0"}, {"value", 1}});
  EXPECT_FALSE(apply_json_patch(list, shifts));
  for (Json& operation : shifts) operation = {{"op", "remove"}, {"path", "/a/0"}};
  EXPECT_FALSE(apply_json_patch(list, shifts));
  for (Json& operation : shifts) operation = {{"op", "add"}, {"path", "/a/-"}, {"value", 1}};
  EXPECT_TRUE(apply_json_patch(list, shifts));
}

}  // namespace
}  // namespace coracle
