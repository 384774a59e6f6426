#include "apiserver/pki.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "apiserver/auth.h"
#include "apiserver/kubeconfig.h"
#include "apiserver/x509.h"

namespace coracle {
namespace {

class FixedClock : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override { return now_; }
  std::chrono::steady_clock::time_point steady_now() const override { return {}; }
  std::chrono::system_clock::time_point now_ = std::chrono::system_clock::now();
};

class PkiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/coracle-pki-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    options_.directory = dir_ + "/pki";
    options_.addresses = {*Ip::parse("192.0.2.7"), *Ip::parse("10.96.0.1")};
    options_.cluster_domain = "cluster.local";
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  Pki open() {
    auto pki = open_pki(options_, clock_);
    EXPECT_TRUE(pki) << pki.error().message;
    return pki ? *pki : Pki{};
  }
  static std::string der(const std::string& pem) {
    const auto certificate = certificate_from_pem(pem);
    unsigned char* bytes = nullptr;
    const int size = i2d_X509(certificate->get(), &bytes);
    std::string out(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(size));
    OPENSSL_free(bytes);
    return out;
  }
  mode_t mode(const std::string& name) const {
    struct stat entry {};
    EXPECT_EQ(stat((options_.directory + "/" + name).c_str(), &entry), 0) << name;
    return entry.st_mode & 0777;
  }
  FixedClock clock_;
  PkiOptions options_;
  std::string dir_;
};

TEST_F(PkiTest, SecretsAreForTheOwnerOnly) {
  open();
  for (const char* name : {"ca.key", "server.key", "admin.key", "admin.token"})
    EXPECT_EQ(mode(name), 0600U) << name;
  EXPECT_EQ(mode("."), 0700U);
}

TEST_F(PkiTest, ServerCertificateNamesEveryWayIn) {
  const auto certificate = certificate_from_pem(open().server_certificate);
  const auto names = alternative_names(certificate->get());
  for (const char* name :
       {"IP:192.0.2.7", "IP:10.96.0.1", "IP:127.0.0.1", "IP:::1", "DNS:localhost", "DNS:kubernetes",
        "DNS:kubernetes.default", "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

TEST_F(PkiTest, StaysTheSameUntilItMustChange) {
  const Pki first = open();
  const Pki second = open();
  EXPECT_EQ(first.server_certificate, second.server_certificate);
  EXPECT_EQ(first.admin_certificate, second.admin_certificate);
  EXPECT_EQ(first.admin_token, second.admin_token);
  options_.addresses.push_back(*Ip::parse("198.51.100.1"));
  const Pki moved = open();
  EXPECT_NE(moved.server_certificate, first.server_certificate);
  EXPECT_EQ(moved.ca_certificate, first.ca_certificate);
  EXPECT_EQ(moved.admin_certificate, first.admin_certificate);
  clock_.now_ += std::chrono::hours(24) * 1000;
  const Pki later = open();
  EXPECT_NE(later.server_certificate, moved.server_certificate);
  EXPECT_NE(later.admin_certificate, moved.admin_certificate);
}

TEST_F(PkiTest, DamagedServerKeyIsReplacedDamagedAuthorityIsNot) {
  const Pki first = open();
  std::ofstream(options_.directory + "/server.key") << "rubbish";
  EXPECT_NE(open().server_certificate, first.server_certificate);
  std::ofstream(options_.directory + "/ca.key") << "rubbish";
  const auto broken = open_pki(options_, clock_);
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().message.find("ca.key"), std::string::npos);
}

TEST_F(PkiTest, AuthenticatorKnowsItsOwnOnly) {
  const Pki pki = open();
  const Authenticator auth(std::move(*CertificateVerifier::create(pki.ca_certificate)),
                           pki.admin_token);
  const auto admin = auth.authenticate(der(pki.admin_certificate), "");
  ASSERT_TRUE(admin);
  EXPECT_EQ(admin->user, "kubernetes-admin");
  EXPECT_EQ(admin->groups, std::vector<std::string>{"system:masters"});
  EXPECT_TRUE(auth.authenticate("", "Bearer " + pki.admin_token));
  EXPECT_TRUE(auth.authenticate("", "bearer " + pki.admin_token));
  EXPECT_TRUE(auth.authenticate(der(pki.admin_certificate), "Bearer wrong"));
  EXPECT_FALSE(auth.authenticate("", ""));
  EXPECT_FALSE(auth.authenticate("", "Bearer "));
  EXPECT_FALSE(auth.authenticate("", "Bearer " + pki.admin_token + "x"));
  EXPECT_FALSE(auth.authenticate("", "Basic " + pki.admin_token));
  EXPECT_FALSE(auth.authenticate("rubbish", ""));
  EXPECT_FALSE(auth.authenticate(der(pki.server_certificate), ""))
      << "a server's certificate is no client's";
  options_.directory = dir_ + "/other";
  EXPECT_FALSE(auth.authenticate(der(open().admin_certificate), "")) << "another CA's";
}

TEST(Auth, PublicPaths) {
  for (const char* path : {"/livez", "/readyz", "/healthz", "/version", "/readyz/ping"})
    EXPECT_TRUE(is_public_path(path));
  for (const char* path : {"/", "/api", "/versions", "/livezz", "/openapi/v2", ""})
    EXPECT_FALSE(is_public_path(path));
}

TEST_F(PkiTest, KubeconfigHoldsEverything) {
  const Pki pki = open();
  const std::string path = dir_ + "/kubeconfig";
  ASSERT_TRUE(write_kubeconfig(path, pki, "https://192.0.2.7:6443"));
  struct stat entry {};
  ASSERT_EQ(stat(path.c_str(), &entry), 0);
  EXPECT_EQ(entry.st_mode & 0777, 0600U);
  const std::string text = kubeconfig_text(pki, "https://192.0.2.7:6443");
  EXPECT_NE(text.find("    server: https://192.0.2.7:6443\n"), std::string::npos);
  EXPECT_NE(text.find(base64_encode(pki.admin_key)), std::string::npos);
  EXPECT_EQ(base64_encode("ab"), "YWI=");
  EXPECT_EQ(base64_encode(""), "");
}

}  // namespace
}  // namespace coracle
