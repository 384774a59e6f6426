// Who gets in, over real TLS.
#include "support/api_fixture.h"

namespace coracle {
namespace {

class AuthHttp : public ClusterFixture {};

TEST_F(AuthHttp, AnonymousGets401ExceptForHealthAndVersion) {
  CallOptions anonymous;
  anonymous.certificate = false;
  for (const char* path :
       {"/api", "/apis", "/api/v1/pods", "/openapi/v2", "/nothing", "/api/v1/namespaces/default"}) {
    const Reply reply = call("GET", path, "", anonymous);
    EXPECT_EQ(reply.code, 401) << path;
    EXPECT_EQ(reply.reason(), "Unauthorized") << path;
    EXPECT_EQ(json_string(reply.json(), {"message"}), "Unauthorized");
  }
  for (const char* path : {"/livez", "/readyz", "/healthz", "/version"})
    EXPECT_EQ(call("GET", path, "", anonymous).code, 200) << path;
  EXPECT_EQ(
      call("POST", "/api/v1/namespaces/default/configmaps", config_map("a").dump(), anonymous).code,
      401);
}

TEST_F(AuthHttp, CertificateAndTokenLetIn) {
  EXPECT_EQ(get("/api/v1/namespaces").code, 200);
  CallOptions token;
  token.token = admin_token();
  EXPECT_EQ(call("GET", "/api/v1/namespaces", "", token).code, 200);
  token.token = "wrong";
  EXPECT_EQ(call("GET", "/api/v1/namespaces", "", token).code, 401);
}

TEST_F(AuthHttp, KubeconfigPointsHere) {
  EXPECT_NE(read("kubeconfig").find("https://127.0.0.1:" + std::to_string(server_->port())),
            std::string::npos);
}

class BoundTest : public ClusterFixture {
 protected:
  BoundTest() {
    tune_ = [](ApiServerOptions& options) { options.addresses = {*Ip::parse("192.0.2.7")}; };
  }
};

TEST_F(BoundTest, TheKubeconfigNamesTheAddressItIsBoundTo) {
  EXPECT_NE(read("kubeconfig").find("https://127.0.0.1:" + std::to_string(server_->port())),
            std::string::npos)
      << read("kubeconfig");
}

}  // namespace
}  // namespace coracle
