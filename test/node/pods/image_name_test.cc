#include "node/pods/image_name.h"

#include <gtest/gtest.h>

namespace coracle::pods {
namespace {

const std::string kDigest = "@sha256:" + std::string(64, 'a');

TEST(ImageNames, AreToldFromOtherText) {
  for (const std::string& good :
       {std::string("nginx"), std::string("nginx:1.27"), std::string("coracle/echo"),
        std::string("registry.example:5000/a/b-c_d.e__f:v1.2-rc_3"), std::string("localhost/a"),
        std::string("[fd00::1]:5000/a"), std::string("a---b"), "nginx:1" + kDigest,
        "nginx" + kDigest, std::string("HOST/a")})
    EXPECT_EQ(image_name_problem(good), "") << good;
  for (const std::string& bad : {std::string(),
                                 std::string("nginx:"),
                                 std::string(":1"),
                                 std::string("a b"),
                                 std::string("a//b"),
                                 std::string("/a"),
                                 std::string("a/"),
                                 std::string("-a"),
                                 std::string("a_"),
                                 std::string("a..b"),
                                 std::string("a___b"),
                                 std::string("nginx@"),
                                 std::string("nginx@sha256:12"),
                                 std::string("nginx:-1"),
                                 "nginx:" + std::string(129, 'a'),
                                 std::string("https://registry.example/a"),
                                 std::string("r.example:port/a"),
                                 std::string("${TAG}"),
                                 std::string("a:1:2"),
                                 std::string("\0", 1)})
    EXPECT_EQ(image_name_problem(bad), "invalid reference format") << bad;
}

TEST(ImageNames, UpperCaseIsNamed) {
  EXPECT_EQ(image_name_problem("Nginx:1"),
            "invalid reference format: repository name (library/Nginx) must be lowercase");
  EXPECT_EQ(image_name_problem("registry.example/Team/app"),
            "invalid reference format: repository name (Team/app) must be lowercase");
}

}  // namespace
}  // namespace coracle::pods
