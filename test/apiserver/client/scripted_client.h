// The API as a script for informers: which lists and watches it answers, in their order.
#pragma once

#include <coracle/client.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace coracle {

inline Object object(const std::string& name, Revision revision, const std::string& value = "") {
  return Object(Json{{"metadata",
                      {{"name", name},
                       {"namespace", "ns"},
                       {"uid", "uid-" + name},
                       {"resourceVersion", std::to_string(revision)}}},
                     {"data", {{"value", value}}}});
}

struct Value {
  std::string name, value;
  static Result<Value> decode(const Object& o) {
    if (json_string(o.json(), {"data", "value"}) == "broken")
      return Error{Code::BadRequest, "broken"};
    return Value{o.name(), json_string(o.json(), {"data", "value"})};
  }
};

// Answers lists and watches from a script; a watch without one waits until it is stopped.
class ScriptedClient : public Client {
 public:
  using Watch = std::deque<Result<std::vector<WatchEvent>>>;
  void will_list(Result<ObjectList> answer) {
    const std::lock_guard lock(mutex_);
    lists_.push_back(std::move(answer));
  }
  void will_watch(Watch answers) {
    const std::lock_guard lock(mutex_);
    watches_.push_back(std::move(answers));
  }
  int lists_asked() {
    const std::lock_guard lock(mutex_);
    return lists_asked_;
  }
  // Everything that was scripted has been handed out, and been dealt with.
  bool exhausted() {
    const std::lock_guard lock(mutex_);
    return lists_.empty() && watches_.empty() && idle_;
  }
  std::vector<Revision> watched_from() {
    const std::lock_guard lock(mutex_);
    return from_;
  }
  bool await_watches(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return from_.size() >= count; });
  }

  Result<ObjectList> list(const Resource&, const ListOptions&) override {
    const std::lock_guard lock(mutex_);
    ++lists_asked_;
    if (lists_.empty()) return Error{Code::Unavailable, "no more lists"};
    auto out = std::move(lists_.front());
    lists_.pop_front();
    return out;
  }
  Result<std::unique_ptr<ClientWatch>> watch(const Resource&, const ListOptions&,
                                             Revision from) override {
    const std::lock_guard lock(mutex_);
    from_.push_back(from);
    idle_ = false;
    changed_.notify_all();
    auto out = std::make_unique<Scripted>(*this);
    if (!watches_.empty()) {
      out->answers = std::move(watches_.front());
      watches_.pop_front();
    }
    return std::unique_ptr<ClientWatch>(std::move(out));
  }
  Result<Object> get(const Resource&, const ObjectKey&) override { return none(); }
  Result<Object> create(const Resource&, const Object&) override { return none(); }
  Result<Object> update(const Resource&, const Object&, const std::string&) override {
    return none();
  }
  Result<Object> patch(const Resource&, const ObjectKey&, PatchType, const Json&,
                       const std::string&) override {
    return none();
  }
  Result<void> remove(const Resource&, const ObjectKey&, const DeleteOptions&) override {
    return none();
  }

 private:
  static Error none() { return {Code::MethodNotAllowed, "not scripted"}; }
  struct Scripted : ClientWatch {
    explicit Scripted(ScriptedClient& of) : client(of) {}
    ScriptedClient& client;
    Watch answers;
    Result<std::vector<WatchEvent>> next(const std::stop_token& stop) override {
      if (!answers.empty()) {
        auto out = std::move(answers.front());
        answers.pop_front();
        return out;
      }
      client.rest();
      std::mutex mutex;
      std::condition_variable_any never;
      std::unique_lock lock(mutex);
      (void)never.wait(lock, stop, [] { return false; });
      return std::vector<WatchEvent>{};
    }
  };
  void rest() {
    const std::lock_guard lock(mutex_);
    idle_ = true;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  int lists_asked_ = 0;
  bool idle_ = false;  // a watch without a script waits
  std::deque<Result<ObjectList>> lists_;
  std::deque<Watch> watches_;
  std::vector<Revision> from_;
};

}  // namespace coracle
