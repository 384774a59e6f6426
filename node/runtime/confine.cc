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

// Refused with EPERM.
constexpr std::uint32_t kRefused[] = {
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_setns,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_swapon,
    SYS_swapoff,
    SYS_reboot,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_userfaultfd,
    SYS_acct,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_quotactl,
    SYS_lookup_dcookie,
    SYS_syslog,
    SYS_vhangup,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
#if defined(__x86_64__)
    SYS_iopl,
    SYS_ioperm,
    SYS_uselib,
#endif
};

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

bool filter_calls() {
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
  for (const std::uint32_t call : kRefused) {
    filter.when_equal(call, 1);
    filter.refuse(EPERM);
  }
  // Its flags lie in memory, out of a filter's sight: callers fall back to clone.
  filter.when_equal(SYS_clone3, 1);
  filter.refuse(ENOSYS);
  for (const std::uint32_t call : {SYS_unshare, SYS_clone}) {
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

bool drop_capabilities() {
  for (int cap = 0; cap < 64; ++cap) {
    if ((kContainerCapabilities >> static_cast<unsigned>(cap) & 1U) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, cap) != 0 && errno != EINVAL) return false;
  }
  (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  data[0].effective = data[0].permitted = static_cast<std::uint32_t>(kContainerCapabilities);
  data[1].effective = data[1].permitted = static_cast<std::uint32_t>(kContainerCapabilities >> 32U);
  return syscall(SYS_capset, &header, data) == 0;
}

}  // namespace

bool confine() {
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && drop_capabilities() && filter_calls();
}

}  // namespace coracle::runtime
