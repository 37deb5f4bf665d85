"""What a folder's disk is: full, on the network, and how a change is made to last."""

import errno
import os
import re
import shutil
from pathlib import Path

LEAST = 1 << 16  # bytes; a disk with less room is full
MOUNTS = Path("/proc/mounts")  # Linux only
# As the kernel names them in /proc/mounts: several hosts may see the same files.
NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "orangefs", "pvfs2",
    "ocfs2", "gfs2", "panfs", "wekafs", "fhgfs", "coda", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse",
    "fuse.s3fs", "fuse.goofys", "fuse.gcsfuse", "fuse.blobfuse", "fuse.rclone", "fuse.juicefs", "fuse.mfs", "fuse.moosefs",
    "fuse.davfs", "fuse.seaweedfs", "fuse.beegfs", "fuse.mount-s3", "mountpoint-s3",
}  # fmt: skip


def network_file_system(path: Path) -> str | None:
    """The type of the network file system on which a path is or would be, such as nfs4; None on a disk of this host.

    Where the system does not say (not Linux) it is None.
    """
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, kind, longest = path.resolve(), "", -1
    for line in mounts:
        _, where, what, *_ = line.split(" ")
        folder = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), where))
        if len(folder.parts) >= longest and place.is_relative_to(folder):  # a later mount hides an earlier one
            kind, longest = what, len(folder.parts)
    return kind if kind in NETWORK else None


def is_full(root: Path, error: Exception) -> bool:
    """Whether the disk being full made this error: numpy and safetensors do not pass the system's number on."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = f"os error {errno.ENOSPC}" in str(error)
    return said or (isinstance(error, OSError) and shutil.disk_usage(root).free < LEAST)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # network file systems have no such thing for a folder
            raise
    finally:
        os.close(handle)
