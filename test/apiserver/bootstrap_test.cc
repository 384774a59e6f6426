#include "apiserver/bootstrap.h"

#include <gmock/gmock.h>

#include "registry_fixture.h"

namespace coracle {
namespace {

class Bootstrap : public RegistryFixture {
 protected:
  void SetUp() override {
    RegistryFixture::SetUp();
    BootstrapOptions options{};
    options.server_address = *Ip::parse("192.0.2.1");
    options.service_cidr = *Cidr::parse("10.96.0.0/16");
    ASSERT_TRUE(bootstrap(*registry_, options));
  }
  Json dns_service() const {
    const auto entry = registry_->get(kind(resources::kServices), {"kube-system", "kube-dns"});
    return entry ? Json::parse((*entry)->value) : Json();
  }
  const Ip dns_ = *Ip::parse("10.96.0.10");
};

TEST_F(Bootstrap, NamesTheClustersDnsOnceAndAgainWhenItIsGone) {
  ASSERT_TRUE(ensure_dns_service(*registry_, dns_, "cluster.local"));
  const Json service = dns_service();
  ASSERT_TRUE(service.is_object());
  EXPECT_EQ(service["spec"]["clusterIP"], "10.96.0.10");
  EXPECT_EQ(service["spec"]["ports"][0]["name"], "dns");
  EXPECT_EQ(service["spec"]["ports"][0]["protocol"], "UDP");
  EXPECT_EQ(service["spec"]["ports"][1]["name"], "dns-tcp");
  EXPECT_EQ(service["spec"]["ports"][1]["protocol"], "TCP");
  EXPECT_EQ(service["metadata"]["annotations"][kClusterDomainAnnotation], "cluster.local");
  open();  // as after a restart
  ASSERT_TRUE(ensure_dns_service(*registry_, dns_, "my.zone"));
  EXPECT_EQ(dns_service()["metadata"]["annotations"][kClusterDomainAnnotation], "my.zone");
  EXPECT_EQ(dns_service()["metadata"]["uid"], service["metadata"]["uid"]);
  ASSERT_TRUE(registry_->remove(kind(resources::kServices), {"kube-system", "kube-dns"}, {}, {}));
  ASSERT_TRUE(ensure_dns_service(*registry_, dns_, "cluster.local"));
  EXPECT_NE(dns_service()["metadata"]["uid"], service["metadata"]["uid"]);
}

TEST_F(Bootstrap, ADnsAddressThatAnotherServiceHasIsToldAndLeftAlone) {
  const Json other = {{"metadata", {{"name", "web"}}},
                      {"spec", {{"clusterIP", "10.96.3.3"}, {"ports", {{{"port", 80}}}}}}};
  make(resources::kServices, other);
  const auto named = ensure_dns_service(*registry_, *Ip::parse("10.96.3.3"), "x.y");
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().code, Code::Conflict);
  EXPECT_THAT(named.error().message, ::testing::HasSubstr("default/web"));
  EXPECT_TRUE(dns_service().is_null());
}

TEST_F(Bootstrap, AnotherDnsAddressThanBeforeIsTold) {
  ASSERT_TRUE(ensure_dns_service(*registry_, dns_, "cluster.local"));
  const auto named = ensure_dns_service(*registry_, *Ip::parse("10.96.0.11"), "x.y");
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().code, Code::Conflict);
  EXPECT_EQ(dns_service()["spec"]["clusterIP"], "10.96.0.10");
}

}  // namespace
}  // namespace coracle
