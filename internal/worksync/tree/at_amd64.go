package tree

import "syscall"

// sysFstatat is the call that fills a syscall.Stat_t here.
const sysFstatat = syscall.SYS_NEWFSTATAT
