#include "apiserver/log_options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

Result<LogOptions> parse(const std::string& query) {
  return log_options(*Query::parse(query), "p");
}

TEST(LogOptions, WhatIsWrong) {
  const struct {
    const char* query;
    Code code;
    const char* message;
  } cases[] = {
      {"tailLines=x", Code::BadRequest, "strconv.ParseInt: parsing \"x\": invalid syntax"},
      {"tailLines=99999999999999999999", Code::BadRequest,
       "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"},
      {"sinceTime=yesterday", Code::BadRequest,
       "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\""},
      {"tailLines=%ff", Code::BadRequest,
       "strconv.ParseInt: parsing \"\xEF\xBF\xBD\": invalid syntax"},
      {"sinceTime=%ff", Code::BadRequest,
       "parsing time \"\xEF\xBF\xBD\" as \"2006-01-02T15:04:05Z07:00\""},
      {"tailLines=-1", Code::Invalid,
       "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or "
       "equal to 0"},
      {"limitBytes=0", Code::Invalid,
       "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0"},
      {"sinceSeconds=0", Code::Invalid,
       "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0"},
  };
  for (const auto& c : cases) {
    const auto options = parse(c.query);
    ASSERT_FALSE(options) << c.query;
    EXPECT_EQ(options.error().code, c.code) << c.query;
    EXPECT_EQ(options.error().message, c.message);
  }
  for (const char* query : {"sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z", "stream=Both",
                            "stream=Stdout&tailLines=1"})
    EXPECT_EQ(parse(query).error().code, Code::Invalid) << query;
}

TEST(LogOptions, AreEncodedForTheNode) {
  const Json pod = Json::parse(R"({"metadata":{"name":"p","uid":"u"},"status":{"containerStatuses":[
      {"name":"c","lastState":{"terminated":{"containerID":"process://abc"}}}]}})");
  const auto encoded = [&](const std::string& query) {
    return Json::parse(encode_log_request(*parse(query), pod, "c"));
  };
  EXPECT_EQ(encoded(""), Json::parse(R"({"uid":"u","container":"c","lastID":"abc"})"));
  EXPECT_EQ(encoded("follow=true&previous&timestamps=1&stream=Stderr").dump(),
            encoded("follow=1&previous=true&timestamps=true&stream=Stderr").dump());
  EXPECT_EQ(encoded("stream=Stdout")["stream"], "stdout");
  EXPECT_FALSE(encoded("stream=All").contains("stream"));
  EXPECT_EQ(encoded("sinceTime=2026-01-02T03:04:05%2B02:00")["since"],
            "2026-01-02T01:04:05.000000Z");
  EXPECT_FALSE(encoded("follow=false&previous=0").contains("follow"));
}

TEST(LogOptions, TheContainerThatIsMeant) {
  const Json one = Json::parse(R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"a"}]}})");
  EXPECT_EQ(*log_container(one, ""), "a");
  EXPECT_EQ(*log_container(one, "a"), "a");
  EXPECT_EQ(log_container(one, "b").error().message, "container b is not valid for pod p");
  const Json many = Json::parse(R"({"metadata":{"name":"p"},"spec":{
      "containers":[{"name":"a"},{"name":"b"}],"initContainers":[{"name":"i"}]}})");
  EXPECT_EQ(*log_container(many, "i"), "i");
  EXPECT_EQ(log_container(many, "").error().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init "
            "containers: [i]");
}

TEST(LogOptions, WhyThereIsNoLog) {
  const auto why = [](const std::string& status, bool previous = false) {
    Json pod = {{"metadata", {{"name", "p"}}}};
    if (!status.empty())
      pod["status"]["containerStatuses"] =
          Json::array({Json{{"name", "c"}, {"state", Json::parse(status)}}});
    return no_log(pod, "c", previous).message;
  };
  EXPECT_EQ(why(""), "container \"c\" in pod \"p\" is not available");
  EXPECT_EQ(why(R"({"waiting":{"reason":"ErrImagePull"}})"),
            "container \"c\" in pod \"p\" is waiting to start: image can't be pulled");
  EXPECT_EQ(why(R"({"waiting":{"reason":"ImagePullBackOff"}})"),
            "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image");
  EXPECT_EQ(why(R"({"waiting":{"reason":"PodInitializing"}})"),
            "container \"c\" in pod \"p\" is waiting to start: PodInitializing");
  EXPECT_EQ(why(R"({"running":{}})", true),
            "previous terminated container \"c\" in pod \"p\" not found");
}

}  // namespace
}  // namespace coracle
