// The value types of the contracts: addresses, selectors, objects, times.
#include <coracle/clock.h>
#include <coracle/labels.h>
#include <coracle/net.h>
#include <coracle/object.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

TEST(Ip, ParsesAndPrintsCanonically) {
  const struct {
    const char* text;
    const char* printed;
  } cases[] = {{"10.0.0.1", "10.0.0.1"}, {"2001:DB8:0::1", "2001:db8::1"}, {"::", "::"}};
  for (const auto& c : cases) EXPECT_EQ(Ip::parse(c.text)->to_string(), c.printed) << c.text;
  for (const char* bad :
       {"", "10.0.0", "10.0.0.256", "010.0.0.1", "1.2.3.4 ", "fe80::1%eth0", "10.0.0.1/24"})
    EXPECT_FALSE(Ip::parse(bad)) << bad;
  EXPECT_EQ(Ip::parse("10.0.0.255")->plus(1).to_string(), "10.0.1.0");
  EXPECT_LT(*Ip::parse("255.0.0.1"), *Ip::parse("::1"));
  EXPECT_TRUE(Ip::parse("127.1.2.3")->is_loopback());
}

TEST(Cidr, ComputesRanges) {
  const auto cidr = *Cidr::parse("10.42.3.7/16");
  EXPECT_EQ(cidr.network().to_string(), "10.42.0.0");
  EXPECT_EQ(cidr.last().to_string(), "10.42.255.255");
  EXPECT_EQ(cidr.size(), 65536U);
  EXPECT_EQ(cidr.subnet(24, 3).to_string(), "10.42.3.0/24");
  EXPECT_TRUE(cidr.contains(*Ip::parse("10.42.9.9")));
  EXPECT_FALSE(cidr.contains(*Ip::parse("10.43.0.0")));
  EXPECT_TRUE(cidr.overlaps(*Cidr::parse("10.0.0.0/8")));
  EXPECT_FALSE(cidr.overlaps(*Cidr::parse("10.96.0.0/16")));
  for (const char* bad : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/"})
    EXPECT_FALSE(Cidr::parse(bad)) << bad;
}

TEST(Mac, RoundTrips) {
  EXPECT_EQ(Mac::parse("0a:1b:2c:3d:4e:5f")->to_string(), "0a:1b:2c:3d:4e:5f");
  EXPECT_FALSE(Mac::parse("0a:1b:2c:3d:4e"));
  EXPECT_FALSE(Mac::parse("0a-1b-2c-3d-4e-5f"));
}

TEST(LabelSelector, MatchesAsKubernetesDoes) {
  const Labels labels{{"app", "web"}, {"tier", "front"}, {"n", "7"}};
  const struct {
    const char* text;
    bool matches;
  } cases[] = {{"", true},
               {"app=web", true},
               {"app==web,tier!=back", true},
               {"app!=web", false},
               {"missing!=x", true},
               {"app in (web, db)", true},
               {"app in (,web)", true},
               {"app notin (web)", false},
               {"missing notin (a)", true},
               {"app", true},
               {"!app", false},
               {"!missing", true},
               {"n>6,n<8", true},
               {"n>7", false},
               {"app=", false}};
  for (const auto& c : cases) {
    const auto selector = LabelSelector::parse(c.text);
    ASSERT_TRUE(selector) << c.text;
    EXPECT_EQ(selector->matches(labels), c.matches) << c.text;
    EXPECT_EQ(LabelSelector::parse(selector->to_string())->requirements(), selector->requirements())
        << c.text;
  }
  for (const char* bad :
       {"a b c", "a=b=c", ",", "a,", "a in", "a in (b", "-a", "a=-", "a>x", "a=b,,c=d", "(a)",
        "a..b/c", "a-.b/c", ".a/b", "a./b", "-a/b", "A/b", "/b"})
    EXPECT_FALSE(LabelSelector::parse(bad)) << bad;
  EXPECT_TRUE(LabelSelector::parse("a-b.c1/D_e.f"));
}

TEST(LabelSelector, ReadsSelectorDocuments) {
  const auto selector = LabelSelector::from_json(Json::parse(
      R"({"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"In","values":["e","d","b"]}]})"));
  ASSERT_TRUE(selector);
  EXPECT_TRUE(selector->matches({{"a", "b"}, {"c", "b"}}));
  EXPECT_TRUE(selector->matches({{"a", "b"}, {"c", "e"}}));
  EXPECT_FALSE(selector->matches({{"a", "b"}}));
  EXPECT_FALSE(LabelSelector::from_json(
      Json::parse(R"({"matchExpressions":[{"key":"c","operator":"Near"}]})")));
  EXPECT_FALSE(LabelSelector::from_json(
      Json::parse(R"({"matchExpressions":[{"key":"c","operator":"In"}]})")));
}

TEST(FieldSelector, ParsesEscapesAndRefusesTheRest) {
  const auto selector = FieldSelector::parse(R"(metadata.name=a\,b,status.phase!=Failed)");
  ASSERT_TRUE(selector);
  ASSERT_EQ(selector->terms().size(), 2U);
  EXPECT_EQ(selector->terms()[0].value, "a,b");
  EXPECT_TRUE(selector->matches(
      [](const std::string& f) { return f == "metadata.name" ? "a,b" : "Running"; }));
  EXPECT_EQ(selector->to_string(), R"(metadata.name=a\,b,status.phase!=Failed)");
  for (const char* empty : {"", ",", ",,"}) EXPECT_TRUE(FieldSelector::parse(empty)->empty());
  EXPECT_EQ(FieldSelector::parse("a=b,")->terms().size(), 1U);
  EXPECT_EQ(FieldSelector::parse(R"(a\=b=c)")->to_string(), R"(a\=b=c)");
  for (const char* bad : {"a", "=b", "a=b=c", R"(a=\x)", R"(a=\)"})
    EXPECT_FALSE(FieldSelector::parse(bad)) << bad;
}

TEST(Object, ReadsMetadataAndSurvivesWrongTypes) {
  const auto object = Object::parse(
      R"({"kind":"Pod","metadata":{"name":"p","namespace":"n","resourceVersion":"42","labels":{"a":"b","c":1},)"
      R"("ownerReferences":[{"uid":"u","controller":true}]},"spec":[]})");
  ASSERT_TRUE(object);
  const Meta meta = object->meta();
  EXPECT_EQ(meta.key().to_string(), "n/p");
  EXPECT_EQ(meta.revision, 42);
  EXPECT_EQ(meta.labels, (Labels{{"a", "b"}}));
  EXPECT_TRUE(meta.owners.at(0).controller);
  EXPECT_EQ(json_string(object->json(), {"spec", "nodeName"}), "");
  Object copy = *object;
  copy.json()["kind"] = "Other";
  EXPECT_EQ(object->kind(), "Pod");
}

TEST(Object, RefusesBadDocuments) {
  EXPECT_FALSE(Object::parse("{"));
  EXPECT_FALSE(Object::parse("[]"));
  EXPECT_FALSE(Object::parse(R"({"a":1,"a":2})"));
  EXPECT_FALSE(Object::parse(std::string(100000, '[')));
  std::string deep;
  for (int i = 0; i < 20000; ++i) deep += R"({"a":)";
  EXPECT_FALSE(Object::parse(deep));
  EXPECT_EQ(Object(Json{{"a", "\xff"}}).dump().empty(), false);
}

TEST(Time, StaysWhereDifferencesDo) {
  for (const char* text : {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"}) {
    const auto age = system_clock().now() - parse_time(text);
    EXPECT_LT(std::chrono::abs(age), std::chrono::hours(24 * 366 * 200)) << text;
    EXPECT_GT(std::chrono::abs(age), std::chrono::hours(24 * 365 * 100)) << text;
  }
}

TEST(Time, FormatsAndParsesRfc3339) {
  const auto time = parse_time("2026-01-02T03:04:05Z");
  EXPECT_EQ(format_time(time), "2026-01-02T03:04:05Z");
  EXPECT_EQ(format_micro_time(parse_time("2026-01-02T03:04:05.000123Z")),
            "2026-01-02T03:04:05.000123Z");
  EXPECT_EQ(format_time(parse_time("2026-01-02T05:04:05+02:00")), "2026-01-02T03:04:05Z");
  EXPECT_EQ(parse_time("yesterday"), std::chrono::system_clock::time_point{});
}

}  // namespace
}  // namespace coracle
