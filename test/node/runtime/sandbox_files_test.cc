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
  }
  const auto old = decode_start(without(encode(start_spec()), 3));
  ASSERT_TRUE(old);
  EXPECT_EQ(old->hidden, std::vector<std::string>{"/root"});
  EXPECT_EQ(old->termination_message_path, "/dev/termination-log");
  EXPECT_FALSE(decode_start(without(encode(start_spec()), 4)));
  EXPECT_FALSE(decode_start(""));
}

TEST(SandboxFiles, AStateIsReadAsWritten) {
  for (const std::string& text :
       {encode(container_state()), with_more(encode(container_state()))}) {
    const auto read = decode_state(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, container_state());
  }
  const auto old = decode_state(without(encode(container_state()), 1));
  ASSERT_TRUE(old);
  EXPECT_EQ(old->message, "why");
  EXPECT_EQ(old->termination_message, "");
  EXPECT_FALSE(decode_state(without(encode(container_state()), 2)));
}

}  // namespace
}  // namespace coracle::runtime
