#include "runtime/sandbox_files.h"

#include <gtest/gtest.h>

namespace coracle::runtime {
namespace {

StartSpec start_spec() {
  StartSpec out;
  out.id = "id";
  out.image = "coracle/host";
  out.restart_count = 3;
  out.working_dir = "/srv";
  out.argv = {"sh", "-c", "echo \"two\nlines\""};
  out.env = {"A=b", "EMPTY="};
  out.hidden = {"/root"};
  out.oom_score_adj = -997;
  out.termination_message_path = "/tmp/why";
  out.message_from_log = true;
  out.mounts = {{"v", Volume::Kind::Memory, "v", "/etc/app", "a/b", true, false},
                {"w", Volume::Kind::Host, "/srv/x y", "/data", "", false, true}};
  out.node_data = {"/var/lib/coracle"};
  out.privileges = {1000, 100, {4, 44}, 0x400, false, true};
  out.cgroups = {"/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/memory/a"};
  out.memory_cgroup = "/sys/fs/cgroup/memory/a";
  out.share_processes = true;
  return out;
}
ContainerState container_state() {
  ContainerState out;
  out.name = "c";
  out.id = "id";
  out.status = ContainerState::Status::Exited;
  out.exit_code = 3;
  out.started_at = out.finished_at = std::chrono::system_clock::time_point(std::chrono::hours(1));
  out.message = "why";
  out.termination_message = "what it left";
  out.out_of_memory = true;
  return out;
}
// As a program wrote it that knew `fields` fewer, or more, at the end.
std::string without(std::string text, int fields) {
  for (int i = 0; i < fields; ++i) text.erase(text.rfind('\0', text.size() - 2) + 1);
  return text;
}
std::string with_more(const std::string& text) {
  return text + std::string("new\0field\0", 10);
}

TEST(SandboxFiles, AStartIsReadAsWritten) {
  for (const std::string& text : {encode(start_spec()), with_more(encode(start_spec()))}) {
    const auto read = decode_start(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(encode(*read), encode(start_spec()));
    EXPECT_EQ(read->privileges, start_spec().privileges);
    EXPECT_EQ(read->cgroups, start_spec().cgroups);
  }
  constexpr int kVolumes = 17, kPrivileges = 13;  // fields about them, at the end
  const std::string whole = encode(start_spec());
  const auto before_privileges = decode_start(without(whole, kPrivileges));
  ASSERT_TRUE(before_privileges);
  EXPECT_EQ(before_privileges->privileges, Privileges());
  EXPECT_FALSE(before_privileges->mounts.empty());
  const auto before_volumes = decode_start(without(whole, kPrivileges + kVolumes));
  ASSERT_TRUE(before_volumes);
  EXPECT_TRUE(before_volumes->message_from_log);
  EXPECT_TRUE(before_volumes->mounts.empty());
  EXPECT_FALSE(decode_start(without(whole, 1)));
  const auto old = decode_start(without(whole, kPrivileges + kVolumes + 3));
  ASSERT_TRUE(old);
  EXPECT_EQ(old->hidden, std::vector<std::string>{"/root"});
  EXPECT_EQ(old->termination_message_path, "/dev/termination-log");
  EXPECT_FALSE(decode_start(without(whole, kPrivileges + kVolumes + 4)));
  EXPECT_FALSE(decode_start(""));
}

TEST(SandboxFiles, ASandboxIsReadAsWritten) {
  SandboxSpec spec{.pod_uid = "u", .ns = "n", .name = "p", .hostname = "h"};
  const std::string old = without(encode(spec), 2);
  spec.volumes = {{"a", Volume::Kind::Disk, "", "", 0, std::nullopt},
                  {"b", Volume::Kind::Memory, "", "", 1U << 20U, 2000},
                  {"c", Volume::Kind::Host, "/srv", "Directory", 0, std::nullopt}};
  const auto read = decode_sandbox(encode(spec));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, spec);
  const auto without_volumes = decode_sandbox(old);
  ASSERT_TRUE(without_volumes);
  EXPECT_TRUE(without_volumes->volumes.empty());
  EXPECT_TRUE(decode_sandbox(without(encode(spec), 1))) << "of shared processes";
  EXPECT_FALSE(decode_sandbox(without(encode(spec), 2)));
}

TEST(SandboxFiles, AStateIsReadAsWritten) {
  for (const std::string& text :
       {encode(container_state()), with_more(encode(container_state()))}) {
    const auto read = decode_state(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, container_state());
  }
  const auto before = decode_state(without(encode(container_state()), 1));
  ASSERT_TRUE(before);
  EXPECT_EQ(before->termination_message, "what it left");
  EXPECT_FALSE(before->out_of_memory);
  const auto old = decode_state(without(encode(container_state()), 2));
  ASSERT_TRUE(old);
  EXPECT_EQ(old->message, "why");
  EXPECT_EQ(old->termination_message, "");
  EXPECT_FALSE(decode_state(without(encode(container_state()), 3)));
}

}  // namespace
}  // namespace coracle::runtime
