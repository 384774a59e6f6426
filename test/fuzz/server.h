// An API server without sockets: requests go in where the HTTP server hands them over, answers are
// held to what every answer promises. Everything is in memory, so one input cannot touch the next.
#pragma once

#include <apiserver/handlers.h>
#include <apiserver/registry.h>
#include <coracle/clock.h>
#include <coracle/stores.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "targets.h"

namespace coracle::fuzz {

class StillClock : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override {
    return std::chrono::system_clock::time_point{std::chrono::seconds(1'767'323'045)};
  }
  std::chrono::steady_clock::time_point steady_now() const override {
    return std::chrono::steady_clock::time_point{std::chrono::hours(1)};
  }
};

struct Ask {
  std::string method;
  std::string path;
  std::string query = {};
  std::string content_type = {};
  std::string accept = {};
  std::string body = {};
};

// One object of a kind, as the server holds it.
struct Example {
  const ResourceKind* kind = nullptr;
  ObjectKey key;
  Json object;
};

class Server {
 public:
  // The one that inputs are sent to. It holds the objects of manifests/examples.
  static Server& instance();
  // Back to the beginning, for the next input: an input has written. References into registry() and
  // examples() end.
  void renew();

  // Throws Broken when the answer is no answer: a code that says the server failed, a body that is
  // not in the format it names, an error that is no Status.
  HttpResponse ask(const Ask& ask);
  const Registry& registry() const { return *registry_; }
  // The first object of each kind that has some.
  const std::vector<Example>& examples() const { return examples_; }

 private:
  Server();
  void read_manifests();

  StillClock clock_;
  std::vector<std::string> manifests_;  // in YAML, a Namespace first
  std::unique_ptr<Store> store_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<Registry> front_;  // what the handlers, which cost much to make, hold instead
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<Handlers> handlers_;
  std::vector<Example> examples_;
};

// "/api/v1/namespaces/default/pods", and "/x" for the object named x.
std::string collection_path(const Resource& resource, const std::string& ns);

// Sends a body as a client would: the first byte is the kind, the second the request (create, dry
// run, update, status), the third fieldValidation and what is accepted. What was stored is held to
// what the server promises of a stored object.
void send_body(const std::string& content_type, std::string_view input);

// Json in, the same Json out: as JSON and as YAML.
void require_round_trips(const Json& document);

}  // namespace coracle::fuzz
