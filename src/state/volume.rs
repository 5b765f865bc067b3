//! Whether a directory outlives its container. That depends on its file system, which Linux names in `/proc/self/mountinfo`.
//!
//! Source: Linux, "The /proc Filesystem", 3.5, on mountinfo.

use std::path::{Path, PathBuf};

/// The file system that a directory is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its type, such as ext4, or `unknown` where the system does not tell.
    pub kind: String,
    /// How long it lasts.
    pub lasts: Lasts,
}

/// How long what is on a file system lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Until somebody removes it, as far as can be told.
    Beyond,
    /// As long as the pod: it is an emptyDir of Kubernetes.
    Pod,
    /// As long as the container: it is the container's own layer.
    Container,
    /// As long as it is mounted: it is in memory.
    Mount,
}

impl Lasts {
    /// What totals in a state directory there do, for people.
    pub const fn explain(self) -> &'static str {
        match self {
            Lasts::Beyond => "survive crashes and restarts",
            Lasts::Pod => {
                "survive crashes and restarts of the container, and go with the pod, since the state directory is an emptyDir"
            }
            Lasts::Container => {
                "survive a crash of the process, and go with the container, in whose own layer the state directory is; mount \
                 a volume there"
            }
            Lasts::Mount => {
                "survive a crash of the process, and go with the container or the machine, in whose memory the state \
                 directory is; mount a volume there"
            }
        }
    }

    /// Whether that is less than who asks for a state directory is likely to want.
    pub const fn is_short(self) -> bool {
        matches!(self, Lasts::Container | Lasts::Mount)
    }
}

impl Volume {
    /// Whether what is written in place of other bytes takes their place on the disk too, as far as is known: not where
    /// the file system copies on write or is a log, and in memory nothing is won by it.
    pub fn overwrites_in_place(&self) -> bool {
        matches!(self.kind.as_str(), "ext2" | "ext3" | "ext4" | "xfs")
    }

    /// The volume of a directory, or of where it would be made. What the system does not tell is taken to last.
    pub fn of(directory: &Path) -> Volume {
        let find = || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
            let absolute = std::path::absolute(directory).ok()?;
            let there = absolute.ancestors().find_map(|ancestor| ancestor.canonicalize().ok())?;
            Volume::among(&mounts, &there)
        };
        find().unwrap_or_else(|| Volume { kind: "unknown".to_owned(), lasts: Lasts::Beyond })
    }

    /// The volume of a path without symbolic links, by the mounts.
    fn among(mounts: &str, path: &Path) -> Option<Volume> {
        let on = mounts.lines().filter_map(Mount::read).filter(|mount| path.starts_with(&mount.point));
        // Of several at one point the last one is seen.
        let mount = on.max_by_key(|mount| mount.point.components().count())?;
        let lasts = match mount.kind {
            "overlay" | "aufs" => Lasts::Container,
            "tmpfs" | "ramfs" => Lasts::Mount,
            _ if mount.root.contains("/kubernetes.io~empty-dir/") => Lasts::Pod,
            _ => Lasts::Beyond,
        };
        Some(Volume { kind: mount.kind.to_owned(), lasts })
    }
}

/// A mount.
struct Mount<'a> {
    /// What of its file system is mounted.
    root: &'a str,
    point: PathBuf,
    kind: &'a str,
}

impl Mount<'_> {
    fn read(line: &str) -> Option<Mount<'_>> {
        // Between the mount and its file system stand fields of which there can be any number.
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        Some(Mount { root, point: unescaped(point).into(), kind: file_system.split(' ').next()? })
    }
}

/// A path in which space, tab, line break and backslash are written in octal.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.into_iter().fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
610 480 0:55 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
611 610 0:58 / /proc rw,nosuid - proc proc rw
612 610 0:59 / /dev/shm rw,nosuid - tmpfs shm rw,size=65536k
613 610 8:1 /var/lib/kubelet/pods/1a/volumes/kubernetes.io~empty-dir/state /state rw,relatime - ext4 /dev/sda1 rw
614 610 259:3 / /data rw,relatime shared:7 master:2 - xfs /dev/nvme1n1 rw
615 614 0:61 / /data/in\\040memory rw - tmpfs tmpfs rw
616 610 0:62 / /twice rw - tmpfs tmpfs rw
617 616 259:4 / /twice rw - ext4 /dev/nvme2n1 rw
a line that is none
";

    #[test]
    fn the_innermost_mount_decides_how_long_a_directory_lasts() {
        for (path, kind, lasts) in [
            ("/var/lib/planet", "overlay", Lasts::Container),
            ("/dev/shm/planet", "tmpfs", Lasts::Mount),
            ("/state", "ext4", Lasts::Pod),
            ("/state/inner", "ext4", Lasts::Pod),
            ("/stateless", "overlay", Lasts::Container),
            ("/data/planet", "xfs", Lasts::Beyond),
            ("/data/in memory/planet", "tmpfs", Lasts::Mount),
            ("/twice", "ext4", Lasts::Beyond),
        ] {
            let volume = Volume { kind: kind.to_owned(), lasts };
            assert_eq!(Volume::among(MOUNTS, Path::new(path)), Some(volume), "{path}");
        }
        assert_eq!(Volume::among("", Path::new("/state")), None);
    }
}
