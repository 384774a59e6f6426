// Keeps an agent's credential valid and its client pointed to where the server is.
#pragma once

#include <coracle/clock.h>
#include <coracle/http_client.h>
#include <coracle/join.h>
#include <coracle/mutex.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>

namespace coracle {

// Looks at the start, when the client does not reach the server, when somebody says where the
// server is, and from time to time.
class Keeper {
 public:
  // The credential is the one stored in `directory`. `client` uses it and must outlive the Keeper.
  Keeper(std::string directory, NodeCredential credential, HttpClient& client, const Clock& clock);
  ~Keeper();  // stops, with a look under way
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  void start();
  // A server may be at that URL: whoever says so proves nothing, but the server there must.
  // Thread-safe, as what follows.
  void hint(const std::string& url);
  void unreachable();

 private:
  using Time = std::chrono::steady_clock::time_point;

  void run(const std::stop_token& stop);
  // Waits until there is a reason to look. What was said about the server's address, if anything.
  std::optional<std::string> wait(const std::stop_token& stop);
  void look(const std::optional<std::string>& hint, const std::stop_token& over);
  // Whether the server answers, at an address that it then has.
  bool find(const std::optional<std::string>& hint, const std::stop_token& stop);
  void renew();
  void use();

  const std::string directory_;
  HttpClient& client_;
  const Clock& clock_;
  // Of the thread.
  NodeCredential credential_;
  Time next_renewal_;
  Mutex mutex_;
  CondVar changed_;
  std::string current_ CORACLE_GUARDED_BY(mutex_);  // where the client looks
  std::optional<std::string> hint_ CORACLE_GUARDED_BY(mutex_);
  // The look under way, and whether it follows a hint. One that does not is cut short by a hint:
  // where the server was may be silent for long.
  std::stop_source look_ CORACLE_GUARDED_BY(mutex_);
  bool following_ CORACLE_GUARDED_BY(mutex_) = false;
  // Hints that led nowhere, until when they are not followed.
  std::map<std::string, Time> vain_ CORACLE_GUARDED_BY(mutex_);
  bool unreachable_ CORACLE_GUARDED_BY(mutex_) = false;
  Time next_look_ CORACLE_GUARDED_BY(mutex_);
  Time quiet_until_ CORACLE_GUARDED_BY(mutex_);  // no look for being unreachable before
  std::jthread thread_;
};

}  // namespace coracle
