#include "apiserver/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

TEST(Status, NotFoundNamesThePlural) {
  const Json status = error_status({Code::NotFound, "deployments.apps \"x\" not found"},
                                   {"x", "apps", "deployments", "Deployment", ""});
  EXPECT_EQ(status,
            Json::parse(R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
    "message":"deployments.apps \"x\" not found","reason":"NotFound","code":404,
    "details":{"name":"x","group":"apps","kind":"deployments"}})"));
}

TEST(Status, InvalidNamesTheKindAndItsCauses) {
  Error error{Code::Invalid, "bad"};
  error.causes = {{"FieldValueRequired", "Required value", "spec.ports"}};
  const Json status = error_status(error, {"x", "", "services", "Service", ""});
  EXPECT_EQ(status["code"], 422);
  EXPECT_EQ(status["details"], Json::parse(R"({"name":"x","kind":"Service",
    "causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.ports"}]})"));
}

TEST(Status, UnknownPathHasEmptyDetails) {
  EXPECT_EQ(error_status({Code::NotFound, "no"}, {})["details"], Json::object());
  EXPECT_FALSE(error_status({Code::BadRequest, "no"}, {}).contains("details"));
}

TEST(Status, SuccessCarriesTheUid) {
  const Json status = success_status({"x", "", "pods", "", "u-1"});
  EXPECT_EQ(status["status"], "Success");
  EXPECT_EQ(status["details"], Json::parse(R"({"name":"x","kind":"pods","uid":"u-1"})"));
}

TEST(Status, NumbersAndReasons) {
  EXPECT_EQ(http_code(Code::AlreadyExists), 409);
  EXPECT_EQ(http_code(Code::Expired), 410);
  EXPECT_EQ(status_reason(Code::TooLarge), "RequestEntityTooLarge");
  EXPECT_EQ(http_code(code_from_http(505)), 400);
  EXPECT_EQ(http_code(code_from_http(411)), 400);
  EXPECT_EQ(http_code(code_from_http(413)), 413);
}

}  // namespace
}  // namespace coracle
