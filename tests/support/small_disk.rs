//! A small file system: a tmpfs in a namespace of its own.

use std::path::PathBuf;
use std::process::Command;

use super::Scratch;
use super::process::Process;

/// A small file system, which lives as long as the process that holds its namespace.
pub struct SmallDisk {
    holder: Process,
    mount: PathBuf,
    _scratch: Scratch,
}

impl SmallDisk {
    /// One of this size, as mount has it.
    pub fn of(size: &str) -> SmallDisk {
        let scratch = Scratch::new("small-disk");
        let mount = scratch.0.clone();
        let script = "mount -t tmpfs -o size=$1 tmpfs \"$0\" && echo mounted && exec sleep 3600";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(&mount).arg(size);
        let mut holder = Process::start("unshare of util-linux", &mut command);
        holder.eventually("a small file system", |holder| holder.stdout.find("mounted"));
        SmallDisk { holder, mount, _scratch: scratch }
    }

    /// The path, from outside the namespace, of a file on the disk.
    pub fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mount.strip_prefix("/").expect("an absolute path")).join(name)
    }

    /// The command of an exporter with its state on the disk.
    pub fn exporter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
        let holder = self.holder.id().to_string();
        command.args(["--target", &holder, "--user", "--mount", "--preserve-credentials"]);
        command.arg(env!("CARGO_BIN_EXE_planet-call-exporter"));
        command.arg("--state-dir").arg(self.mount.join("state"));
        command
    }
}
