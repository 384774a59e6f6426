#include <coracle/log.h>
#include <coracle/utf8.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <regex>
#include <sstream>

namespace coracle {
namespace {

TEST(Log, ValuesStayOnTheirLineAndInTheirQuotes) {
  struct Case {
    const char* name;
    std::string value;
    const char* shown;
  };
  const std::string long_value(log::kMaxValue + 10, 'x');
  const std::string cut = '"' + long_value.substr(0, log::kMaxValue) + " (and 10 bytes)\"";
  for (const Case& c : {
           Case{"a word", "default/web-1:80", "default/web-1:80"},
           Case{"nothing", "", R"("")"},
           Case{"several words", "two words", R"("two words")"},
           Case{"quotes", R"(say "no")", R"("say \"no\"")"},
           Case{"what looks like a key", "a=b", R"("a=b")"},
           Case{"backslash", R"(a\nb)", R"("a\\nb")"},
           Case{"a forged line", "x\ntime=2026 level=info", R"("x\ntime=2026 level=info")"},
           Case{"carriage return and tab", "a\r\tb", R"("a\r\tb")"},
           Case{"NUL", std::string("a\0b", 3), R"("a\u0000b")"},
           Case{"a terminal's colours", "\x1b[31mred\x7f", R"("\u001b[31mred\u007f")"},
           Case{"letters", "größe", R"("größe")"},
           Case{"next line, line and paragraph", "a\u0085b\u2028c\u2029",
                R"("a\u0085b\u2028c\u2029")"},
           Case{"right to left", "a\u202eb", R"("a\u202eb")"},
           Case{"no UTF-8", "a\xff\xc3", R"("a\xff\xc3")"},
           Case{"overlong", "\xc0\xaf", R"("\xc0\xaf")"},
           Case{"braces", "{} {0}", R"("{} {0}")"},
           Case{"too much", long_value, cut.c_str()},
       }) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(log::format("x", "m", {{"v", c.value}}),
              std::string("component=x msg=m v=") + c.shown);
  }
}

TEST(Log, FieldsComeInOrderAndNumbersAreBare) {
  EXPECT_EQ(log::format("pods", "it waits", {{"pod", "default/p"}, {"seconds", 10}, {"left", -1L}}),
            R"(component=pods msg="it waits" pod=default/p seconds=10 left=-1)");
  EXPECT_EQ(log::format("a b", "", {}), R"(component="a b" msg="")");
}

TEST(Log, ALineHasItsTimeAndLevel) {
  std::ostringstream text;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_st>(text)));
  log::debug("x", "not shown");
  // The pattern is set once: a logger that came later gets it here.
  spdlog::set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v", spdlog::pattern_time_type::utc);
  log::warn("x", "said\n{}", {{"n", 1}});
  spdlog::set_default_logger(before);
  EXPECT_TRUE(std::regex_match(
      text.str(), std::regex(R"(time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=warning )"
                             R"(component=x msg="said\\n\{\}" n=1\n)")))
      << text.str();
}

TEST(Utf8, IsToldFromOtherBytes) {
  struct Case {
    const char *text, *valid;
  };
  for (const Case& c :
       {Case{"abc", "abc"}, Case{"\u00e4\u20ac\U0001f600", "\u00e4\u20ac\U0001f600"},
        Case{"\xe2\x82", "\ufffd\ufffd"}, Case{"\x80z", "\ufffdz"},
        Case{"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
        Case{"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"}, Case{"\xc1\xbf", "\ufffd\ufffd"}}) {
    EXPECT_EQ(utf8::to_valid(c.text), c.valid);
  }
  EXPECT_EQ(utf8::to_valid(std::string_view("a\0b", 3)), "a\ufffdb");
}

TEST(Utf8, IsCutBetweenCharacters) {
  EXPECT_EQ(utf8::head("a\u20acb", 4), "a\u20ac");
  EXPECT_EQ(utf8::head("a\u20acb", 3), "a");
  EXPECT_EQ(utf8::head("a\u20acb", 9), "a\u20acb");
  EXPECT_EQ(utf8::tail("a\u20acb", 4), "\u20acb");
  EXPECT_EQ(utf8::tail("a\u20acb", 3), "b");
  EXPECT_EQ(utf8::tail("ab", 0), "");
}

}  // namespace
}  // namespace coracle
