#include "dns/routes.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace coracle::dns {
namespace {

constexpr std::uint32_t kHostTtl = 60;  // seconds

struct Pair {
  Name name;
  std::string value;
};

Result<Pair> split(const std::string& text) {
  const std::size_t at = text.find('=');
  if (at == std::string::npos)
    return Error{Code::BadRequest, "\"" + text + "\" has no = between name and address"};
  auto name = Name::parse(text.substr(0, at));
  if (!name || name->is_root())
    return Error{Code::BadRequest, "\"" + text.substr(0, at) + "\" is no DNS name"};
  return Pair{*name, text.substr(at + 1)};
}

Result<UpstreamServer> parse_server(const std::string& text) {
  if (const auto ip = Ip::parse(text)) return UpstreamServer{*ip};
  const Error wrong{Code::BadRequest, "\"" + text + "\" is neither IP nor IP:PORT"};
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return wrong;
  std::string address = text.substr(0, colon);
  if (address.front() == '[' && address.back() == ']')
    address = address.substr(1, address.size() - 2);
  const auto ip = Ip::parse(address);
  Port port = 0;
  const char* end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (!ip || error != std::errc() || read != end || port == 0) return wrong;
  return UpstreamServer{*ip, port};
}

Result<void> add_stub(StaticNames& names, const std::string& text) {
  const Pair pair = TRY(split(text));
  const UpstreamServer server = TRY(parse_server(pair.value));
  const auto same = std::find_if(names.stubs.begin(), names.stubs.end(),
                                 [&](const StubDomain& stub) { return stub.zone == pair.name; });
  if (same != names.stubs.end())
    same->servers.push_back(server);
  else
    names.stubs.push_back({pair.name, {server}});
  return {};
}

Result<void> add_host(StaticNames& names, const std::string& text) {
  const Pair pair = TRY(split(text));
  if (pair.name.label_count() < 2)
    return Error{Code::BadRequest,
                 "the host \"" + text + "\" has one label only: give it a domain, as nas.home"};
  const auto ip = Ip::parse(pair.value);
  if (!ip) return Error{Code::BadRequest, "\"" + pair.value + "\" is no IP address"};
  names.hosts[std::string(pair.name.wire())].push_back(*ip);
  return {};
}

}  // namespace

Result<StaticNames> parse_static_names(const std::vector<std::string>& stubs,
                                       const std::vector<std::string>& hosts) {
  StaticNames out;
  for (const std::string& text : stubs)
    if (const auto added = add_stub(out, text); !added) return added.error().context("stub domain");
  for (const std::string& text : hosts)
    if (const auto added = add_host(out, text); !added) return added.error().context("host");
  std::stable_sort(out.stubs.begin(), out.stubs.end(),
                   [](const StubDomain& a, const StubDomain& b) {
                     return a.zone.label_count() > b.zone.label_count();
                   });
  return out;
}

Result<std::unique_ptr<Routes>> Routes::create(const Clock& clock, const ForwarderOptions& options,
                                               StaticNames names) {
  auto others = TRY(Forwarder::create(clock, options));
  std::vector<Stub> stubs;
  for (const StubDomain& stub : names.stubs) {
    stubs.push_back({stub.zone, TRY(Forwarder::create(clock, options))});
    stubs.back().forwarder->set_servers(stub.servers);
  }
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return Error::from_errno(errno, "epoll_create1");
  return std::unique_ptr<Routes>(
      new Routes(std::move(names.hosts), std::move(stubs), std::move(others), epoll));
}

Routes::Routes(std::map<std::string, std::vector<Ip>> hosts, std::vector<Stub> stubs,
               std::unique_ptr<Forwarder> others, int epoll)
    : hosts_(std::move(hosts)),
      stubs_(std::move(stubs)),
      others_(std::move(others)),
      epoll_(epoll) {
  epoll_event event{};
  event.events = EPOLLIN;
  (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, others_->fd(), &event);
  for (const Stub& stub : stubs_)
    (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, stub.forwarder->fd(), &event);
}

Routes::~Routes() {
  ::close(epoll_);
}

void Routes::ask(const Question& question, Done done) {
  if (const auto host = hosts_.find(std::string(question.name.wire())); host != hosts_.end()) {
    Reply reply;
    for (const Ip& ip : host->second)
      if (question.type == (ip.is_v4() ? type::kA : type::kAaaa))
        reply.answer.push_back(make_address(question.name, kHostTtl, ip));
    return done(reply);
  }
  for (const Stub& stub : stubs_)
    if (question.name.is_under(stub.zone)) return stub.forwarder->ask(question, std::move(done));
  others_->ask(question, std::move(done));
}

bool Routes::sent_from(const Ip& ip, Port port) const {
  return others_->sent_from(ip, port) ||
         std::any_of(stubs_.begin(), stubs_.end(),
                     [&](const Stub& stub) { return stub.forwarder->sent_from(ip, port); });
}

void Routes::run() {
  others_->run();
  for (const Stub& stub : stubs_) stub.forwarder->run();
}

std::optional<std::chrono::steady_clock::time_point> Routes::deadline() const {
  auto first = others_->deadline();
  for (const Stub& stub : stubs_) {
    const auto other = stub.forwarder->deadline();
    if (other && (!first || *other < *first)) first = other;
  }
  return first;
}

}  // namespace coracle::dns
