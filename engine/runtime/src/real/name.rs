//! The machine's name, as a listener without a host advertises it.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use nix::sys::socket::{SockaddrLike, SockaddrStorage};

/// The name under which others find this machine: that of its address, if the name leads back to the address, else the
/// address itself. So does Java's `getCanonicalHostName`, which Kafka advertises. Asks the resolver, and so may block.
pub(crate) fn canonical_name() -> String {
    let Ok(system) = nix::sys::utsname::uname() else { return "localhost".to_owned() };
    let own = system.nodename().to_string_lossy().into_owned();
    let addresses = addresses_of(&own);
    // Java prefers IPv4 too.
    let Some(address) = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first()) else {
        return own;
    };
    match name_of(*address) {
        Some(name) if addresses_of(&name).contains(address) => name,
        _ => address.to_string(),
    }
}

fn addresses_of(name: &str) -> Vec<IpAddr> {
    (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

fn name_of(address: IpAddr) -> Option<String> {
    let address = SockaddrStorage::from(SocketAddr::new(address, 0));
    let mut name = [0; libc::NI_MAXHOST as usize];
    // SAFETY: the address is initialized for the length given with it; the name is written within the length of its buffer;
    // no service is asked for.
    let error = unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.len(),
            name.as_mut_ptr().cast(),
            libc::NI_MAXHOST,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    let name = (error == 0).then(|| CStr::from_bytes_until_nul(&name).ok())??;
    name.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_name_leads_to_this_machine() {
        let name = canonical_name();
        let own = nix::sys::utsname::uname().unwrap().nodename().to_str().unwrap().to_owned();
        let own_addresses = addresses_of(&own);
        assert!(name == own || addresses_of(&name).iter().any(|address| own_addresses.contains(address)), "{name}");
    }

    #[test]
    fn an_address_without_a_name_has_none() {
        // 192.0.2.0/24 is set aside for documentation.
        assert_eq!(name_of([192, 0, 2, 1].into()), None);
        assert!(
            name_of([127, 0, 0, 1].into()).is_some_and(|name| addresses_of(&name).contains(&[127, 0, 0, 1].into()))
        );
    }
}
