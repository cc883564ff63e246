//! Where the agent runs: the machine's name, and the container around it, if there is one.

use std::path::Path;

use logyard_sys::Disk;

/// Returns the machine's name, or `localhost` where none can be read.
pub(crate) fn machine_name(disk: &dyn Disk) -> String {
    for path in ["/proc/sys/kernel/hostname", "/etc/hostname"] {
        let bytes = disk.read(Path::new(path)).unwrap_or_default();
        let name = String::from_utf8_lossy(&bytes).trim().to_owned();
        if !name.is_empty() {
            return name;
        }
    }
    "localhost".to_owned()
}

/// Returns the id of the container that this process runs in.
///
/// Engines mount three files of `…/containers/<id>/` into each container. The agent of the host sees
/// such mounts of other containers too, but never as `/etc/hostname`.
pub(crate) fn own_container_id(disk: &dyn Disk) -> Option<String> {
    let bytes = disk.read(Path::new("/proc/self/mountinfo")).ok()?;
    container_id_in(&String::from_utf8_lossy(&bytes))
}

fn container_id_in(mountinfo: &str) -> Option<String> {
    for line in mountinfo.lines() {
        let mut fields = line.split(' ').skip(3);
        let (Some(root), Some(mount_point)) = (fields.next(), fields.next()) else {
            continue;
        };
        if !matches!(mount_point, "/etc/hostname" | "/etc/resolv.conf" | "/etc/hosts") {
            continue;
        }
        let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(id) = root.split('/').find(is_id) {
            return Some(id.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_container_is_found_in_its_mounts() {
        let id = "a".repeat(64);
        let inside = format!(
            "1 2 0:1 / / rw - overlay overlay rw\n\
             3 1 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(container_id_in(&inside), Some(id.clone()));
        let host = format!("3 1 8:1 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw\n");
        assert_eq!(container_id_in(&host), None);
    }

    #[test]
    fn a_machine_without_a_name_has_one() {
        assert_eq!(machine_name(&logyard_sys::SimDisk::new()), "localhost");
    }
}
