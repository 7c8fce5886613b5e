#define _GNU_SOURCE // O_PATH
#include "CElfutils.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int kiln_find_below(int root, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

bool kiln_is_of_plain_file_system(int file)
{
	struct statfs status;

	if (fstatfs(file, &status))
		return false;
	switch ((unsigned long)status.f_type) {
	case EXT4_SUPER_MAGIC: // and its predecessors
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case SQUASHFS_MAGIC:
	case EROFS_SUPER_MAGIC_V1:
	case NFS_SUPER_MAGIC:
		return true;
	}
	return false;
}
