// Bootstrap tokens as Secrets, and who is let in with one.
#include <apiserver/tokens.h>
#include <gmock/gmock.h>

#include "registry_fixture.h"

namespace coracle {
namespace {

using ::testing::HasSubstr;

TEST(Tokens, FormAndSecret) {
  for (const char* good : {"abcdef.0123456789abcdef", "000000.zzzzzzzzzzzzzzzz"})
    EXPECT_TRUE(is_bootstrap_token(good)) << good;
  for (const char* bad : {"", "abcdef", "abcdef.0123456789abcde", "abcdef.0123456789abcdefg",
                          "ABCDEF.0123456789abcdef", "abcdef-0123456789abcdef",
                          "abcde.f0123456789abcdef", "abcdef.0123456789abcde."})
    EXPECT_FALSE(is_bootstrap_token(bad)) << bad;
  const auto made = make_bootstrap_token();
  ASSERT_TRUE(made);
  EXPECT_TRUE(is_bootstrap_token(made->text()));
  EXPECT_NE(made->text(), make_bootstrap_token()->text());

  BootstrapToken token{"abcdef", "0123456789abcdef", "for the shed",
                       parse_time("2030-01-02T03:04:05Z")};
  const Json secret = bootstrap_token_secret(token);
  EXPECT_EQ(json_string(secret, {"metadata", "name"}), "bootstrap-token-abcdef");
  EXPECT_EQ(json_string(secret, {"type"}), "bootstrap.kubernetes.io/token");
  EXPECT_EQ(json_string(secret, {"data", "token-id"}), "YWJjZGVm");
  EXPECT_EQ(json_string(secret, {"data", "expiration"}), "MjAzMC0wMS0wMlQwMzowNDowNVo=");
  const auto read = decode_bootstrap_token(secret);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->text(), token.text());
  EXPECT_EQ(read->description, "for the shed");
  EXPECT_EQ(read->expiration, token.expiration);
  EXPECT_TRUE(read->authenticates);
  Json other = secret;
  other["type"] = "Opaque";
  EXPECT_FALSE(decode_bootstrap_token(other));
  other = secret;
  other["metadata"]["name"] = "bootstrap-token-other0";
  EXPECT_FALSE(decode_bootstrap_token(other));
  other = secret;
  other["data"]["token-secret"] = "rubbish!";
  EXPECT_FALSE(decode_bootstrap_token(other));
  other = secret;
  other["data"]["expiration"] = "c29vbg==";  // "soon"
  EXPECT_TRUE(decode_bootstrap_token(other)->expired(parse_time("2020-01-01T00:00:00Z")));
}

class TokensTest : public RegistryFixture {
 protected:
  void SetUp() override {
    RegistryFixture::SetUp();
    const Json ns = {{"metadata", {{"name", kTokenNamespace}}}};
    ASSERT_TRUE(registry_->create(*registry_->find("", "v1", "namespaces"), "", ns, {}));
  }
  void keep(const BootstrapToken& token) {
    const auto made =
        registry_->create(secrets(), kTokenNamespace, bootstrap_token_secret(token), {});
    ASSERT_TRUE(made) << made.error().message;
  }
  bool kept(const char* id) {
    return registry_->get(secrets(), {kTokenNamespace, token_secret_name(id)}).has_value();
  }
  const ResourceKind& secrets() { return *registry_->find("", "v1", "secrets"); }
};

TEST_F(TokensTest, LetInWhoIsKnownAndInTime) {
  const auto now = clock_.now();
  keep({"aaaaaa", "0123456789abcdef", "", now + std::chrono::hours(1)});
  keep({"bbbbbb", "0123456789abcdef", "", std::nullopt});
  keep({"cccccc", "0123456789abcdef", "", now - std::chrono::seconds(1)});
  keep({"dddddd", "0123456789abcdef", "", std::nullopt, false});
  keep({"eeeeee", "0123456789abcdef", "", now - std::chrono::hours(1)});
  const auto lookup = bootstrap_token_lookup(*registry_, clock_);
  const auto known = lookup("aaaaaa.0123456789abcdef");
  ASSERT_TRUE(known) << known.error().message;
  EXPECT_EQ(known->user, "system:bootstrap:aaaaaa");
  EXPECT_EQ(known->groups, std::vector<std::string>{"system:bootstrappers"});
  EXPECT_TRUE(lookup("bbbbbb.0123456789abcdef"));
  const auto problem = [&](const char* token) {
    const auto who = lookup(token);
    EXPECT_FALSE(who);
    EXPECT_EQ(who.error().code, Code::Unauthorized);
    return who.error().message;
  };
  EXPECT_THAT(problem("aaaaaa.0123456789abcdee"), HasSubstr("not known"));
  EXPECT_THAT(problem("cccccc.0123456789abcdee"), HasSubstr("not known"));
  EXPECT_TRUE(kept("cccccc")) << "who does not know the secret removes nothing";
  EXPECT_THAT(problem("cccccc.0123456789abcdef"), HasSubstr("expired at "));
  EXPECT_FALSE(kept("cccccc"));
  EXPECT_THAT(problem("dddddd.0123456789abcdef"), HasSubstr("not for joining"));
  EXPECT_THAT(problem("zzzzzz.0123456789abcdef"), HasSubstr("not known"));
  EXPECT_EQ(remove_expired_tokens(*registry_, clock_), 1U);
  EXPECT_FALSE(kept("eeeeee"));
  EXPECT_TRUE(kept("aaaaaa") && kept("bbbbbb") && kept("dddddd"));
}

}  // namespace
}  // namespace coracle
