#include "runtime/confine.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <iterator>

namespace coracle::runtime {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the seccomp filter knows x86_64 and aarch64"
#endif

// Refused with EPERM to those without the capability, where there is one that opens the call.
constexpr int kNone = -1;
struct Refused {
  std::uint32_t call;
  int unless;
};
constexpr Refused kRefused[] = {
    {SYS_mount, CAP_SYS_ADMIN},
    {SYS_umount2, CAP_SYS_ADMIN},
    {SYS_pivot_root, CAP_SYS_ADMIN},
    {SYS_setns, CAP_SYS_ADMIN},
    {SYS_open_tree, CAP_SYS_ADMIN},
    {SYS_move_mount, CAP_SYS_ADMIN},
    {SYS_fsopen, CAP_SYS_ADMIN},
    {SYS_fsconfig, CAP_SYS_ADMIN},
    {SYS_fsmount, CAP_SYS_ADMIN},
    {SYS_fspick, CAP_SYS_ADMIN},
    {SYS_mount_setattr, CAP_SYS_ADMIN},
    {SYS_swapon, CAP_SYS_ADMIN},
    {SYS_swapoff, CAP_SYS_ADMIN},
    {SYS_quotactl, CAP_SYS_ADMIN},
    {SYS_bpf, CAP_SYS_ADMIN},
    {SYS_perf_event_open, CAP_SYS_ADMIN},
    {SYS_reboot, CAP_SYS_BOOT},
    {SYS_init_module, CAP_SYS_MODULE},
    {SYS_finit_module, CAP_SYS_MODULE},
    {SYS_delete_module, CAP_SYS_MODULE},
    {SYS_open_by_handle_at, CAP_DAC_READ_SEARCH},
    {SYS_name_to_handle_at, CAP_DAC_READ_SEARCH},
    {SYS_acct, CAP_SYS_PACCT},
    {SYS_settimeofday, CAP_SYS_TIME},
    {SYS_clock_settime, CAP_SYS_TIME},
    {SYS_clock_adjtime, CAP_SYS_TIME},
    {SYS_adjtimex, CAP_SYS_TIME},
    {SYS_syslog, CAP_SYSLOG},
    {SYS_vhangup, CAP_SYS_TTY_CONFIG},
    {SYS_kexec_load, kNone},
    {SYS_kexec_file_load, kNone},
    {SYS_keyctl, kNone},
    {SYS_add_key, kNone},
    {SYS_request_key, kNone},
    {SYS_userfaultfd, kNone},
    {SYS_lookup_dcookie, kNone},
    {SYS_io_uring_setup, kNone},
    {SYS_io_uring_enter, kNone},
    {SYS_io_uring_register, kNone},
#if defined(__x86_64__)
    {SYS_iopl, CAP_SYS_RAWIO},
    {SYS_ioperm, CAP_SYS_RAWIO},
    {SYS_uselib, kNone},
#endif
};

bool has(std::uint64_t capabilities, int capability) {
  return (capabilities >> static_cast<unsigned>(capability) & 1U) != 0;
}

constexpr std::size_t kMaxFilter = 4 * std::size(kRefused) + 32;

class Filter {
 public:
  void statement(std::uint16_t code, std::uint32_t k) { add({code, 0, 0, k}); }
  // Goes on with the next instruction when the loaded word equals k, else skips `otherwise`.
  void when_equal(std::uint32_t k, std::uint8_t otherwise) {
    add({BPF_JMP | BPF_JEQ | BPF_K, 0, otherwise, k});
  }
  void when_any_bit(std::uint32_t k, std::uint8_t otherwise) {
    add({BPF_JMP | BPF_JSET | BPF_K, 0, otherwise, k});
  }
  void refuse(std::uint32_t error) { statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error); }
  bool install() {
    sock_fprog program{static_cast<unsigned short>(size_), program_};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  }

 private:
  void add(const sock_filter& instruction) { program_[size_++] = instruction; }
  sock_filter program_[kMaxFilter] = {};
  std::size_t size_ = 0;
};

void load(Filter& filter, std::size_t offset) {
  filter.statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

bool filter_calls(std::uint64_t capabilities) {
  Filter filter;
  load(filter, offsetof(seccomp_data, arch));
  // Calls of another architecture (32 bit) have other numbers.
  filter.when_equal(kArchitecture, 1);
  filter.statement(BPF_JMP | BPF_JA, 1);
  filter.refuse(ENOSYS);
  load(filter, offsetof(seccomp_data, nr));
#if defined(__x86_64__)
  filter.when_any_bit(0x40000000U, 1);  // x32
  filter.refuse(ENOSYS);
#endif
  for (const auto& [call, unless] : kRefused) {
    if (unless != kNone && has(capabilities, unless)) continue;
    filter.when_equal(call, 1);
    filter.refuse(EPERM);
  }
  // Its flags lie in memory, out of a filter's sight: callers fall back to clone.
  filter.when_equal(SYS_clone3, 1);
  filter.refuse(ENOSYS);
  for (const std::uint32_t call : {SYS_unshare, SYS_clone}) {
    if (has(capabilities, CAP_SYS_ADMIN)) break;
    filter.when_equal(call, 3);
    load(filter, offsetof(seccomp_data, args[0]));
    filter.when_any_bit(CLONE_NEWUSER | CLONE_NEWNS, 1);
    filter.refuse(EPERM);
    load(filter, offsetof(seccomp_data, nr));
  }
  // Either would let a process type into a terminal that it shares with the host's shell.
  for (const std::uint32_t request : {std::uint32_t{TIOCSTI}, std::uint32_t{TIOCLINUX}}) {
    filter.when_equal(SYS_ioctl, 3);
    load(filter, offsetof(seccomp_data, args[1]));
    filter.when_equal(request, 1);
    filter.refuse(EPERM);
    load(filter, offsetof(seccomp_data, nr));
  }
  filter.statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  return filter.install();
}

bool limit_capabilities(std::uint64_t capabilities) {
  for (int cap = 0; cap < 64; ++cap)
    if (!has(capabilities, cap) && prctl(PR_CAPBSET_DROP, cap) != 0 && errno != EINVAL)
      return false;
  (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return true;
}

// Not by the C library's functions: they would have all threads follow.
bool become_user(const Privileges& p) {
  return syscall(SYS_setgroups, p.groups.size(), p.groups.data()) == 0 &&
         syscall(SYS_setresgid, p.gid, p.gid, p.gid) == 0 &&
         syscall(SYS_setresuid, p.uid, p.uid, p.uid) == 0;
}

bool take_capabilities(std::uint64_t capabilities) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  data[0].effective = data[0].permitted = static_cast<std::uint32_t>(capabilities);
  data[1].effective = data[1].permitted = static_cast<std::uint32_t>(capabilities >> 32U);
  return syscall(SYS_capset, &header, data) == 0;
}

}  // namespace

bool confine(const Privileges& privileges) {
  if (privileges.no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  // The filter first: without no_new_privs it takes a capability that may be gone afterwards.
  return filter_calls(privileges.capabilities) && limit_capabilities(privileges.capabilities) &&
         become_user(privileges) &&
         take_capabilities(privileges.uid == 0 ? privileges.capabilities : 0);
}

}  // namespace coracle::runtime
