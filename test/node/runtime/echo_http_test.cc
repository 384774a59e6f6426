#include "runtime/echo_http.h"

#include <gtest/gtest.h>

namespace coracle::runtime {
namespace {

const Identity kMe{"web-1", "shop", "10.42.0.7", "node-1"};
const Peer kYou{"10.42.0.9", 40000};

HttpAnswer ask(const std::string& text, bool healthy = true) {
  const HttpParse parsed = parse_request(text);
  EXPECT_FALSE(parsed.incomplete) << text;
  return answer_request(parsed.request, kMe, kYou, healthy);
}
HttpAnswer get(const std::string& path, const std::string& headers = "", bool healthy = true) {
  return ask("GET " + path + " HTTP/1.1\r\n" + headers + "\r\n", healthy);
}

TEST(EchoHttp, TellsHttpFromOtherBytes) {
  EXPECT_EQ(guess_http("GET / HTTP/1.1"), HttpGuess::Yes);
  EXPECT_EQ(guess_http("DEL"), HttpGuess::Maybe);
  EXPECT_EQ(guess_http("hello"), HttpGuess::No);
  EXPECT_EQ(guess_http(std::string("\0\1", 2)), HttpGuess::No);
}

TEST(EchoHttp, NamesItselfAndTheClient) {
  EXPECT_EQ(get("/").body,
            "pod web-1\nnamespace shop\npodIP 10.42.0.7\nnode node-1\nclient 10.42.0.9:40000\n");
  EXPECT_EQ(get("/hostname").body, "web-1\n");
  EXPECT_EQ(get("/clientip").body, "10.42.0.9:40000\n");
  const HttpAnswer json = get("/", "Accept: text/html, application/json\r\n");
  EXPECT_EQ(json.type, "application/json");
  EXPECT_EQ(json.body,
            "{\"pod\":\"web-1\",\"namespace\":\"shop\",\"podIP\":\"10.42.0.7\",\"node\":\"node-1\","
            "\"clientIP\":\"10.42.0.9\",\"clientPort\":40000}\n");
}

TEST(EchoHttp, HealthIsSwitchedByPost) {
  EXPECT_EQ(get("/healthz").body, "ok\n");
  EXPECT_FALSE(ask("POST /healthz/fail HTTP/1.1\r\n\r\n").healthy);
  EXPECT_EQ(get("/healthz/fail").status, 405);
  EXPECT_TRUE(get("/healthz/fail").healthy);
  EXPECT_EQ(get("/healthz", "", false).status, 503);
  EXPECT_TRUE(ask("POST /healthz/ok HTTP/1.1\r\n\r\n", false).healthy);
}

TEST(EchoHttp, SlowWaitsAMinuteAtMost) {
  EXPECT_EQ(get("/slow?ms=250").delay.count(), 250);
  EXPECT_EQ(get("/slow?ms=999999999").delay.count(), 60'000);
  for (const char* path : {"/slow", "/slow?ms=", "/slow?ms=-1", "/slow?ms=1x"})
    EXPECT_EQ(get(path).status, 400) << path;
}

TEST(EchoHttp, KeepsAliveAsTheVersionSays) {
  const auto keeps = [](const std::string& text) { return parse_request(text).request.keep_alive; };
  EXPECT_TRUE(keeps("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
}

TEST(EchoHttp, ReadsOneRequestOfMany) {
  const std::string two = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
  const HttpParse first = parse_request(two);
  EXPECT_FALSE(first.incomplete);
  EXPECT_EQ(two.substr(first.consumed), "GET / HTTP/1.1\r\n\r\n");
  for (std::size_t cut = 0; cut < first.consumed; ++cut)
    EXPECT_TRUE(parse_request(two.substr(0, cut)).incomplete) << cut;
}

TEST(EchoHttp, RefusesWhatItDoesNotUnderstand) {
  const std::pair<std::string, int> kTable[] = {
      {"GET /\r\n\r\n", 400},
      {"GET nowhere HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/2\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411},
      {"GET /nothing HTTP/1.1\r\n\r\n", 404},
      {"GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x'), 431},
  };
  for (const auto& [text, status] : kTable)
    EXPECT_EQ(ask(text).status, status) << text.substr(0, 60);
}

TEST(EchoHttp, HeadHasNoBody) {
  const HttpParse parsed = parse_request("HEAD /hostname HTTP/1.1\r\n\r\n");
  const std::string text =
      format_answer(parsed.request, answer_request(parsed.request, kMe, kYou, true), true);
  EXPECT_TRUE(text.ends_with("\r\n\r\n"));
  EXPECT_NE(text.find("Content-Length: 6\r\n"), std::string::npos);
}

}  // namespace
}  // namespace coracle::runtime
