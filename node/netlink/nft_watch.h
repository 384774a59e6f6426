// The kernel's own word of every change of the nf_tables rules of a network namespace, as it
// happens (net/netfilter/nf_tables_api.c, nft_commit_notify). Used from one thread at a time.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

struct nl_sock;

namespace coracle {

// A rule, a chain or (chain empty) a table of the IPv4 family was made, replaced or removed.
struct NftChange {
  std::string table, chain;
};

class NftWatch {
 public:
  // Of the calling thread's network namespace, from now on.
  static Result<NftWatch> open();
  NftWatch(NftWatch&& other) noexcept;
  NftWatch& operator=(NftWatch&& other) noexcept;
  NftWatch(const NftWatch&) = delete;
  NftWatch& operator=(const NftWatch&) = delete;
  ~NftWatch();

  // Readable when there is something to read.
  int fd() const;
  struct Taken {
    bool complete = true;      // false: the kernel had to drop some
    int own_transactions = 0;  // which `own` has ended: their changes are in force
  };
  // Takes what has come and hands it to `each`, but for what the process `own` did (0: nobody's).
  // Never waits.
  Taken read(pid_t own, const std::function<void(const NftChange&)>& each);

 private:
  explicit NftWatch(nl_sock* socket) : socket_(socket) {}
  nl_sock* socket_;
};

// How often the ruleset of the calling thread's network namespace has been changed, by anybody:
// each transaction counts one. Internal when the kernel does not tell.
Result<std::uint32_t> nft_generation();

}  // namespace coracle
