#include "node/dns/resolv_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fake_upstream_server.h"
#include "store/temp_dir.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using test::name;

TEST(DnsResolvConf, TakesWhatCanBeAsked) {
  const auto config =
      compute_upstream_config({"10.96.0.10", "192.0.2.1", "junk", "192.0.2.1", "fe80::1%eth0",
                               "0.0.0.0", "2001:db8::1", "192.0.2.3", "192.0.2.4"},
                              {"corp.example", ".", "a..b"}, *Ip::parse("10.96.0.10"));
  EXPECT_EQ(config.servers, (std::vector<UpstreamServer>{{*Ip::parse("192.0.2.1")},
                                                         {*Ip::parse("2001:db8::1")},
                                                         {*Ip::parse("192.0.2.3")}}));
  EXPECT_EQ(config.search, std::vector<Name>{name("corp.example")});
}

TEST(DnsResolvConf, SeesFilesReplacedAndTargetsOfLinksChanged) {
  TempDir dir;
  const std::string path = dir.path() + "/resolv.conf";
  auto watch = std::move(*ResolvWatch::create(path));
  const auto seen = [&] { return test::wait_readable(watch->fd()) && watch->changed(); };
  std::ofstream(dir.path() + "/other") << "x";
  EXPECT_FALSE(seen()) << "another file";
  std::ofstream(path) << "a";
  EXPECT_TRUE(seen());
  while (test::wait_readable(watch->fd(), 0)) (void)watch->changed();
  ASSERT_EQ(::mkdir((dir.path() + "/run").c_str(), 0700), 0);
  std::ofstream(dir.path() + "/run/target") << "b";
  ASSERT_EQ(::symlink("run/target", (dir.path() + "/link").c_str()), 0);
  ASSERT_EQ(::rename((dir.path() + "/link").c_str(), path.c_str()), 0);
  EXPECT_TRUE(seen());
  while (test::wait_readable(watch->fd(), 0)) (void)watch->changed();
  std::ofstream(dir.path() + "/run/target") << "c";
  EXPECT_TRUE(seen());
}

}  // namespace
}  // namespace coracle::dns
