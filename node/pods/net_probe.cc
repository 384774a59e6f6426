// HTTP and TCP probes over libcurl's multi interface, with the kubelet's rules: any status from 200
// to 399 is a success, redirects within the host are followed, certificates are not verified, every
// probe has its own connection.
#include "pods/net_probe.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <mutex>
#include <utility>

namespace coracle::pods {
namespace {

constexpr long kMostRedirects = 10;
constexpr std::size_t kMostIdle = 8;
constexpr std::size_t kMostBody = 10240;
constexpr const char* kUserAgent = "kube-probe/1.33";

std::size_t take_body(char*, std::size_t size, std::size_t count, void* taken) {
  // The status is all that counts; a body without end must not hold us.
  auto& total = *static_cast<std::size_t*>(taken);
  total += size * count;
  return total > kMostBody ? 0 : size * count;
}

std::string host_of(const ProbeTarget& target) {
  const std::string host = target.probe.host.empty() ? target.ip.to_string() : target.probe.host;
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

std::string url_of(const ProbeTarget& target) {
  const bool https = target.probe.scheme == "HTTPS";
  std::string path = target.probe.path;
  if (!path.starts_with("/")) path.insert(0, "/");
  std::string out =
      (https ? "https://" : "http://") + host_of(target) + ":" + std::to_string(target.port);
  for (const char c : path) {
    if (c == ' ') {
      out += "%20";
    } else if (static_cast<unsigned char>(c) > ' ') {
      out += c;
    }
  }
  return out;
}

std::string header_line(std::string name, const std::string& value) {
  // "Name;" is how libcurl is told of an empty value.
  return name.append(value.empty() ? ";" : ": ").append(value);
}

// scheme://host:port
std::string origin_of(const std::string& url) {
  const std::size_t start = url.find("://");
  return start == std::string::npos ? "" : url.substr(0, url.find_first_of("/?#", start + 3));
}

std::string curl_error(CURLcode code, CURL* easy, const char* text) {
  if (code == CURLE_OPERATION_TIMEDOUT)
    return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
  long error = 0;
  curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
  if (code == CURLE_COULDNT_CONNECT && error != 0) {
    std::string why = std::strerror(static_cast<int>(error));
    why.front() = static_cast<char>(std::tolower(why.front()));  // as Go has it
    return "connect: " + why;
  }
  return text[0] != '\0' ? text : curl_easy_strerror(code);
}

}  // namespace

class NetProbes::Impl {
 public:
  Impl() {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    multi_ = curl_multi_init();
  }
  ~Impl() {
    while (!running_.empty()) cancel(running_.begin()->first);
    for (CURL* easy : idle_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void start(Id id, const ProbeTarget& target) {
    cancel(id);
    auto run = std::make_unique<Run>();
    run->target = target;
    run->url = url_of(target);
    run->easy = take_handle();
    set_up(*run);
    curl_easy_setopt(run->easy, CURLOPT_PRIVATE, reinterpret_cast<void*>(id));
    curl_multi_add_handle(multi_, run->easy);
    running_[id] = std::move(run);
  }

  void cancel(Id id) {
    const auto it = running_.find(id);
    if (it == running_.end()) return;
    curl_multi_remove_handle(multi_, it->second->easy);
    give_back(std::exchange(it->second->easy, nullptr));
    running_.erase(it);
  }

  std::vector<std::pair<Id, ProbeResult>> wait(std::chrono::milliseconds at_most) {
    std::vector<std::pair<Id, ProbeResult>> out;
    int left = 0;
    curl_multi_perform(multi_, &left);
    collect(out);
    if (!out.empty()) return out;
    const auto milliseconds = std::clamp<long long>(at_most.count(), 0, 3'600'000);
    curl_multi_poll(multi_, nullptr, 0, static_cast<int>(milliseconds), nullptr);
    curl_multi_perform(multi_, &left);
    collect(out);
    return out;
  }

  void wake() { curl_multi_wakeup(multi_); }

 private:
  struct Run {
    ProbeTarget target;
    std::string url;
    CURL* easy = nullptr;
    curl_slist* headers = nullptr;
    std::size_t body = 0;
    long redirects = 0;
    char error[CURL_ERROR_SIZE] = {};
    Run() = default;
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
      curl_easy_cleanup(easy);
      curl_slist_free_all(headers);
    }
  };

  // Making a handle costs as much as a probe.
  CURL* take_handle() {
    if (idle_.empty()) return curl_easy_init();
    CURL* easy = idle_.back();
    idle_.pop_back();
    return easy;
  }

  void give_back(CURL* easy) {
    if (idle_.size() < kMostIdle) {
      curl_easy_reset(easy);
      idle_.push_back(easy);
    } else {
      curl_easy_cleanup(easy);
    }
  }

  static void set_up(Run& run) {
    const Probe& probe = run.target.probe;
    CURL* easy = run.easy;
    curl_easy_setopt(easy, CURLOPT_URL, run.url.c_str());
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, run.error);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     static_cast<long>(std::max<std::int64_t>(1, probe.timeout_seconds) * 1000));
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    if (probe.kind == Probe::Kind::TcpSocket) {
      curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
      return;
    }
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, kUserAgent);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &run.body);
    run.headers = curl_slist_append(run.headers, "Connection: close");
    for (const auto& [name, value] : probe.http_headers)
      run.headers = curl_slist_append(run.headers, header_line(name, value).c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, run.headers);
  }

  void collect(std::vector<std::pair<Id, ProbeResult>>& out) {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      char* tag = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &tag);
      const Id id = reinterpret_cast<std::uintptr_t>(tag);
      const CURLcode code = message->data.result;
      const auto it = running_.find(id);
      if (it == running_.end() || follow(*it->second)) continue;
      out.emplace_back(id, result(*it->second, code));
      cancel(id);
    }
  }

  // Goes on with a redirect that stays with the container.
  bool follow(Run& run) {
    const char* to = nullptr;
    curl_easy_getinfo(run.easy, CURLINFO_REDIRECT_URL, &to);
    if (to == nullptr || run.redirects >= kMostRedirects || origin_of(to) != origin_of(run.url))
      return false;
    ++run.redirects;
    run.url = to;
    run.body = 0;
    curl_multi_remove_handle(multi_, run.easy);
    curl_easy_setopt(run.easy, CURLOPT_URL, run.url.c_str());
    curl_multi_add_handle(multi_, run.easy);
    return true;
  }

  static ProbeResult result(const Run& run, CURLcode code) {
    const std::string address = host_of(run.target) + ":" + std::to_string(run.target.port);
    if (run.target.probe.kind == Probe::Kind::TcpSocket) {
      if (code == CURLE_OK) return {true, ""};
      const std::string why =
          code == CURLE_OPERATION_TIMEDOUT ? "i/o timeout" : curl_error(code, run.easy, run.error);
      return {false, "dial tcp " + address + ": " + why};
    }
    long status = 0;
    curl_easy_getinfo(run.easy, CURLINFO_RESPONSE_CODE, &status);
    const bool cut_by_us = code == CURLE_WRITE_ERROR && run.body > kMostBody;
    if (code != CURLE_OK && !cut_by_us) {
      const std::string dial = code == CURLE_COULDNT_CONNECT ? "dial tcp " + address + ": " : "";
      return {false, "Get \"" + run.url + "\": " + dial + curl_error(code, run.easy, run.error)};
    }
    if (status >= 200 && status < 400) return {true, "", false, status};
    return {false, "HTTP probe failed with statuscode: " + std::to_string(status), false, status};
  }

  CURLM* multi_ = nullptr;
  std::vector<CURL*> idle_;  // handles to be used again
  std::map<Id, std::unique_ptr<Run>> running_;
};

NetProbes::NetProbes() : impl_(std::make_unique<Impl>()) {}
NetProbes::~NetProbes() = default;
void NetProbes::start(Id id, const ProbeTarget& target) {
  impl_->start(id, target);
}
void NetProbes::cancel(Id id) {
  impl_->cancel(id);
}
std::vector<std::pair<NetProbes::Id, ProbeResult>> NetProbes::wait(
    std::chrono::milliseconds at_most) {
  return impl_->wait(at_most);
}
void NetProbes::wake() {
  impl_->wake();
}

}  // namespace coracle::pods
