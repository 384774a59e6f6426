#include "proxy/base_chains.h"

#include <unistd.h>

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "sysctl.h"

namespace coracle {
namespace {

constexpr const char* kBootId = "/proc/sys/kernel/random/boot_id";

struct Builtin {
  const char* table;
  std::initializer_list<const char*> chains;
};
const std::initializer_list<Builtin>& builtins() {
  static const std::initializer_list<Builtin> all = {
      {"raw", {"PREROUTING", "OUTPUT"}},
      {"filter", {"INPUT", "FORWARD", "OUTPUT"}},
      {"nat", {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}},
      {"mangle", {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}}};
  return all;
}

Error damaged(const std::string& path) {
  return {Code::Internal, path + " is damaged"};
}

}  // namespace

MissingChains missing_chains(const NftNames& there) {
  MissingChains missing;
  for (const Builtin& builtin : builtins()) {
    if (!there.tables.contains(builtin.table)) missing.tables.insert(builtin.table);
    for (const char* chain : builtin.chains) {
      if (!there.chains.contains({builtin.table, chain}))
        missing.chains.insert({builtin.table, chain});
    }
  }
  return missing;
}

// {"boot": ID, "tables": [NAME], "chains": [[TABLE, NAME]]}; of an earlier boot it says nothing.
Result<MissingChains> BaseChains::noted() const {
  const auto json = nlohmann::json::parse(TRY(read_small_file(path_)), nullptr, false);
  const bool whole = json.is_object() && json.contains("boot") && json.contains("tables") &&
                     json.contains("chains") && json["tables"].is_array() &&
                     json["chains"].is_array();
  if (!whole) return damaged(path_);
  if (json["boot"] != TRY(read_small_file(kBootId)))
    return Error{Code::NotFound, path_ + " is of an earlier boot"};
  MissingChains missing;
  for (const auto& table : json["tables"]) {
    if (!table.is_string()) return damaged(path_);
    missing.tables.insert(table.get<std::string>());
  }
  for (const auto& chain : json["chains"]) {
    if (!chain.is_array() || chain.size() != 2 || !chain[0].is_string() || !chain[1].is_string())
      return damaged(path_);
    missing.chains.insert({chain[0].get<std::string>(), chain[1].get<std::string>()});
  }
  return missing;
}

Result<void> BaseChains::note(const MissingChains& missing) const {
  nlohmann::json json = {{"boot", TRY(read_small_file(kBootId))},
                         {"tables", missing.tables},
                         {"chains", nlohmann::json::array()}};
  for (const NftChain& c : missing.chains)
    json["chains"].push_back(nlohmann::json::array({c.table, c.chain}));
  return write_file_durably(path_, json.dump() + "\n");
}

Result<void> BaseChains::forget() const {
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, path_);
  return {};
}

Result<void> BaseChains::remember() const {
  if (noted()) return {};
  const auto there = nft_names();
  if (!there) return {};  // a kernel without nf_tables: there will be nothing to remove
  return note(missing_chains(*there));
}

Result<void> BaseChains::remove() const {
  const auto missing = noted();
  if (!missing) return forget();
  const NftNames there = TRY(nft_names());
  std::string problems;
  const auto try_to = [&](const Result<void>& done) {
    if (!done) problems += done.error().message + "; ";
  };
  for (const NftChain& chain : missing->chains) {
    // Somebody has set the policy of a chain that drops.
    if (there.chains.contains(chain) && !there.dropping.contains(chain))
      try_to(remove_unused_nft_chain(chain));
  }
  for (const std::string& table : missing->tables) {
    if (there.tables.contains(table)) try_to(remove_unused_nft_table(table));
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  return forget();
}

Result<void> BaseChains::hand_over(const BaseChains& to) const {
  const auto ours = noted();
  if (!ours) return forget();
  const auto theirs = to.noted();
  MissingChains all = theirs ? *theirs : MissingChains{};
  all.tables.insert(ours->tables.begin(), ours->tables.end());
  all.chains.insert(ours->chains.begin(), ours->chains.end());
  TRY(to.note(all));
  return forget();
}

}  // namespace coracle
