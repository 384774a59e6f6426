#include "apiserver/handlers_output.h"

#include <gtest/gtest.h>

namespace coracle {
namespace {

TEST(HandlersOutput, ItemsOfListsHaveNoType) {
  const struct {
    const char *object, *item;
  } kCases[] = {
      {R"({})", R"({})"},
      {R"({"apiVersion":"v1","kind":"Pod"})", R"({})"},
      {R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"kind":"x"}})",
       R"({"metadata":{"name":"a"},"spec":{"kind":"x"}})"},
      {R"({"apiVersion":"v1","data":{"a":"}\\\",{"},"kind":"ConfigMap","metadata":{}})",
       R"({"data":{"a":"}\\\",{"},"metadata":{}})"},
      {R"({"metadata":{"kind":"x","l":["kind",{"kind":1}]},"kind":"Pod"})",
       R"({"metadata":{"kind":"x","l":["kind",{"kind":1}]}})"},
      {R"({"data":{},"kind":"A","apiVersion":"v1"})", R"({"data":{}})"},
      {R"({"kind":"A","n":1})", R"({"n":1})"},
      {R"({"n":1})", R"({"n":1})"},
      {R"({"n":[],"kind":"A","apiVersion":"v1","z":true})", R"({"n":[],"z":true})"},
  };
  for (const auto& [object, item] : kCases) {
    std::string out = "[";
    append_without_type(object, out);
    EXPECT_EQ(out, "[" + std::string(item)) << object;
  }
}

}  // namespace
}  // namespace coracle
