#include "dns/resolver.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string_view>
#include <utility>

namespace coracle::dns {
namespace {

constexpr std::uint16_t kDs = 43, kDnskey = 48;

Reply failure() {
  Reply reply;
  reply.rcode = Rcode::ServFail;
  return reply;
}

// A host's name of one label means something here only; the root's servers need not hear of it.
bool is_private(const Question& question) {
  const bool of_domains = question.type == type::kNs || question.type == type::kSoa ||
                          question.type == kDs || question.type == kDnskey;
  return question.name.label_count() == 1 && !of_domains;
}

Record alias(const Name& from, const Name& to, std::uint32_t ttl) {
  return {from, type::kCname, ttl, std::string(to.wire())};
}

// The answer to the question about another name, as one to this.
Reply through_alias(const Question& question, const Name& target, std::uint32_t ttl, Reply reply) {
  reply.answer.insert(reply.answer.begin(), alias(question.name, target, ttl));
  reply.authority.clear();
  return reply;
}

// The records of the asked type at the end of an alias' chain, which itself stays as it is.
void rotate_last(std::vector<Record>& records, std::uint16_t type, std::uint32_t turn) {
  const auto other = std::find_if(records.rbegin(), records.rend(), [&](const Record& record) {
    return record.type != type || record.name != records.back().name;
  });
  const auto first = other.base();
  const auto count = records.end() - first;
  if (count > 1) std::rotate(first, first + turn % count, records.end());
}

}  // namespace

struct Resolver::Search {
  Question question;
  Reply literal;
  std::shared_ptr<const Zone> zone;
  std::vector<Name> candidates;
  std::size_t next = 0;
  Done done;
};

void Resolver::set_zone(std::shared_ptr<const Zone> zone, bool synced) {
  zone_ = std::move(zone);
  synced_ = synced;
}

std::optional<Reply> Resolver::known(const Question& question, const std::string& pod_namespace) {
  if (!zone_ || !synced_ || !zone_->owns(question)) return std::nullopt;
  std::uint32_t& turn = turn_of(question);
  ZoneAnswer answer = zone_->answer(question, turn);
  const bool may_be_elsewhere = answer.reply.rcode == Rcode::NxDomain && !pod_namespace.empty();
  if (answer.follow || may_be_elsewhere) return std::nullopt;
  ++turn;
  ++counters_.zone;
  return std::move(answer.reply);
}

void Resolver::resolve(const Question& question, const std::string& pod_namespace,
                       const Done& done) {
  if (!zone_) return done(failure());
  if (zone_->owns(question)) return resolve_zone(question, pod_namespace, done);
  if (is_private(question)) return done(zone_->negative(Rcode::NxDomain, question.name));
  resolve_outside(question,
                  [done](const Result<Reply>& reply) { done(reply ? *reply : failure()); });
}

void Resolver::resolve_zone(const Question& question, const std::string& pod_namespace,
                            const Done& done) {
  if (!synced_) return done(failure());
  ++counters_.zone;
  ZoneAnswer answer = zone_->answer(question, turn_of(question)++);
  const bool lost = answer.reply.rcode == Rcode::NxDomain && answer.reply.answer.empty();
  if (lost && search(question, pod_namespace, answer.reply, done)) return;
  finish_zone(question, std::move(answer), done);
}

// What an alias leads to outside is added.
void Resolver::finish_zone(const Question& question, ZoneAnswer answer, const Done& done) {
  if (!answer.follow) return done(answer.reply);
  const Question outside{*answer.follow, question.type};
  if (zone_->owns(outside) || is_private(outside)) {
    answer.reply.rcode = zone_->owns(outside) ? Rcode::ServFail : Rcode::NxDomain;
    return done(answer.reply);
  }
  resolve_outside(outside, [reply = std::move(answer.reply), done](const Result<Reply>& found) {
    if (!found) return done(failure());
    Reply whole = reply;
    whole.rcode = found->rcode;
    whole.authoritative = false;
    whole.answer.insert(whole.answer.end(), found->answer.begin(), found->answer.end());
    whole.authority = found->authority;
    done(whole);
  });
}

// True when `done` was called, or will be.
bool Resolver::search(const Question& question, const std::string& pod_namespace,
                      const Reply& literal, const Done& done) {
  if (pod_namespace.empty() || pod_namespace.size() > kMaxLabel) return false;
  const auto suffix =
      zone_->config().domain.with_prefix(wire_label(pod_namespace) + wire_label("svc"));
  if (!suffix || !question.name.is_under(*suffix) || question.name == *suffix) return false;
  const std::string_view below = question.name.below(*suffix);
  if (search_zone(question, below, done)) return true;
  auto outside = std::make_shared<Search>();
  *outside = {question, literal, zone_, {}, 0, done};
  for (const Name& domain : host_search_)
    if (const auto name = domain.with_prefix(below)) outside->candidates.push_back(*name);
  if (const auto bare = Name().with_prefix(below)) outside->candidates.push_back(*bare);
  // The cluster's names were tried; what has one label is not for others to hear.
  std::erase_if(outside->candidates, [&](const Name& name) {
    return zone_->owns({name, question.type}) || name.label_count() < 2;
  });
  if (outside->candidates.empty()) return false;
  search_outside(outside);
  return true;
}

bool Resolver::search_zone(const Question& question, std::string_view below, const Done& done) {
  const Name& domain = zone_->config().domain;
  const auto services = domain.with_prefix(wire_label("svc"));
  for (const Name& base : {services ? *services : domain, domain}) {
    const auto candidate = base.with_prefix(below);
    if (!candidate) continue;
    const Question there{*candidate, question.type};
    ZoneAnswer answer = zone_->answer(there, turn_of(question));
    if (answer.reply.rcode == Rcode::NxDomain && answer.reply.answer.empty()) continue;
    ++counters_.searched;
    // No address of this family: all questions about a name must agree that it exists.
    if (answer.reply.answer.empty() && answer.reply.rcode == Rcode::NoError) {
      done(zone_->negative(Rcode::NoError, question.name));
      return true;
    }
    answer.reply =
        through_alias(question, *candidate, zone_->config().ttl, std::move(answer.reply));
    finish_zone(question, std::move(answer), done);
    return true;
  }
  return false;
}

void Resolver::search_outside(const std::shared_ptr<Search>& search) {
  if (search->next == search->candidates.size()) return search->done(search->literal);
  const Name candidate = search->candidates[search->next++];
  resolve_outside({candidate, search->question.type},
                  [this, search, candidate](const Result<Reply>& reply) {
                    take_outside(search, candidate, reply);
                  });
}

void Resolver::take_outside(const std::shared_ptr<Search>& search, const Name& candidate,
                            const Result<Reply>& reply) {
  if (!reply) return search->done(search->literal);
  if (reply->rcode == Rcode::NxDomain) return search_outside(search);
  ++counters_.searched;
  if (reply->answer.empty())
    return search->done(search->zone->negative(Rcode::NoError, search->question.name));
  const std::uint32_t ttl = search->zone->config().ttl;
  search->done(through_alias(search->question, candidate, ttl, *reply));
}

void Resolver::resolve_outside(const Question& question, const Outside& done) {
  auto found = cache_.find(question, clock_.steady_now());
  if (found && found->age == Cache::Age::Fresh) {
    ++counters_.cache_hits;
    return done(in_turn(question, std::move(found->reply)));
  }
  if (found && found->age == Cache::Age::Ending) {
    ++counters_.cache_hits;
    ++counters_.prefetches;
    fetch(question, [](const Result<Reply>&) {});
    return done(in_turn(question, std::move(found->reply)));
  }
  if (found && found->age == Cache::Age::Spared) {
    ++counters_.stale;
    return done(in_turn(question, std::move(found->reply)));
  }
  ++counters_.cache_misses;
  fetch(question, [this, question, done, found](const Result<Reply>& reply) {
    if (reply) return done(in_turn(question, *reply));
    if (!found) return done(reply);
    ++counters_.stale;
    done(in_turn(question, found->reply));
  });
}

void Resolver::fetch(const Question& question, const Outside& done) {
  upstream_.ask(question, [this, question, done](Result<Reply> reply) {
    const auto now = clock_.steady_now();
    if (reply) {
      cache_.put(question, *reply, now);
    } else {
      ++counters_.upstream_failures;
      cache_.failed(question, now);
    }
    done(reply);
  });
}

Reply Resolver::in_turn(const Question& question, Reply reply) {
  if (question.type == type::kA || question.type == type::kAaaa)
    rotate_last(reply.answer, question.type, turn_of(question)++);
  return reply;
}

std::uint32_t& Resolver::turn_of(const Question& question) {
  const std::size_t hash = std::hash<std::string_view>()(question.name.wire()) + question.type;
  return turns_.at(hash % turns_.size());
}

}  // namespace coracle::dns
