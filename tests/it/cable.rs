//! Network namespaces, so that a process can be cut off from others as by a pulled cable.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace at the other end of a cable; dropping it removes both.
pub struct Cable {
    /// Its name.
    pub namespace: String,
    here: String,
    there: String,
    /// The address here, and the one there.
    pub addresses: [String; 2],
}

impl Cable {
    /// Makes a namespace and connects it.
    pub fn lay() -> Self {
        static LAID: AtomicU32 = AtomicU32::new(0);
        // Names of links have 15 characters at most.
        let own = format!("{}-{}", std::process::id(), LAID.fetch_add(1, Ordering::SeqCst));
        let number = std::process::id() * 4 + LAID.load(Ordering::SeqCst);
        let network = format!("10.{}.{}", 128 + number / 250 % 100, number % 250);
        let cable = Self {
            namespace: format!("logyard-{own}"),
            here: format!("lya{own}"),
            there: format!("lyb{own}"),
            addresses: [1, 2].map(|end| format!("{network}.{end}")),
        };
        let Self { namespace, here, there, addresses: [near, far] } = &cable;
        ip(&["netns", "add", namespace]);
        ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", namespace]);
        ip(&["address", "add", &format!("{near}/30"), "dev", here]);
        ip(&["-n", namespace, "address", "add", &format!("{far}/30"), "dev", there]);
        ip(&["-n", namespace, "link", "set", "lo", "up"]);
        cable.set("up", true);
        cable.set("up", false);
        cable
    }

    /// Sets one end `up` or `down`.
    pub fn set(&self, state: &str, is_here: bool) {
        match is_here {
            // No route: connections fail at once.
            true => ip(&["link", "set", &self.here, state]),
            // What is sent vanishes.
            false => ip(&["-n", &self.namespace, "link", "set", &self.there, state]),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.here]);
        ip(&["netns", "delete", &self.namespace]);
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
