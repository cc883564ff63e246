//! Ports that are listened on, kept open while one receiver follows another at the same address.
//!
//! New settings of a receiver stop the old one and start a new one: with a port closed in between, connections would be
//! refused and datagrams lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::net::{TcpListener, UdpSocket};

use crate::error::Error;
use crate::receive_tcp::listen_address;
use crate::{receive_tcp, receive_udp};

/// The ports of all receivers. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ports {
    tcp: Arc<Mutex<ByAddress<TcpListener>>>,
    udp: Arc<Mutex<ByAddress<UdpSocket>>>,
}

type ByAddress<T> = HashMap<String, Weak<T>>;

impl Ports {
    /// Opens a port for connections, or returns it if it is open. Errors name the setting.
    pub(crate) async fn tcp(&self, setting: &'static str, address: &str) -> Result<Arc<TcpListener>, Error> {
        if let Some(open) = open_one(&self.tcp, address) {
            return Ok(open);
        }
        let listener = Arc::new(receive_tcp::bind(setting, address).await?);
        note(&self.tcp, address, &listener);
        Ok(listener)
    }

    /// Opens a port for datagrams, or returns it if it is open. Errors name the setting.
    pub(crate) fn udp(&self, setting: &'static str, address: &str) -> Result<Arc<UdpSocket>, Error> {
        if let Some(open) = open_one(&self.udp, address) {
            return Ok(open);
        }
        let socket = Arc::new(receive_udp::bind(setting, address)?);
        note(&self.udp, address, &socket);
        Ok(socket)
    }
}

fn open_one<T>(ports: &Mutex<ByAddress<T>>, address: &str) -> Option<Arc<T>> {
    ports.lock().unwrap_or_else(PoisonError::into_inner).get(&listen_address(address))?.upgrade()
}

fn note<T>(ports: &Mutex<ByAddress<T>>, address: &str, port: &Arc<T>) {
    let mut ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
    ports.retain(|_, port| port.strong_count() > 0);
    ports.insert(listen_address(address), Arc::downgrade(port));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_one_while_somebody_holds_it() {
        let ports = Ports::default();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let first = ports.tcp("syslog.listen", &free).await.unwrap();
        assert!(Arc::ptr_eq(&first, &ports.tcp("syslog.listen", &free).await.unwrap()));
        let datagrams = ports.udp("syslog.listen", &free).unwrap();
        assert!(Arc::ptr_eq(&datagrams, &ports.udp("gelf.listen", &free).unwrap()));
        drop(first);
        let again = ports.tcp("syslog.listen", &free).await.unwrap();
        assert_eq!(again.local_addr().unwrap().to_string(), free);
    }
}
